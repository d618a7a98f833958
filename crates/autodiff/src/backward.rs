use crate::plan::Step;
use crate::threads::beside_kernels;
use crate::{Activations, AutodiffError, Gradient, Gradients, Mode, Program};
use candle_core::{DType, Tensor};
use refit_graph::ValueId;
use refit_ops::{Backward, OpError, RowGradient, Site, kernels::accumulate};
use std::collections::{BTreeMap, HashMap};

impl Program {
    /// The reverse pass: gradients of every parameter, given those of outputs. Consumes the activations
    /// and frees each as soon as its gradient is done.
    ///
    /// # Errors
    /// When a gradient does not fit its output, or an operator refuses; the error names the node.
    pub fn backward(
        &self,
        activations: Activations,
        output_gradients: HashMap<String, Tensor>,
    ) -> Result<Gradients, AutodiffError> {
        beside_kernels(&self.device, || self.run_backwards(activations, output_gradients))
    }

    fn run_backwards(
        &self,
        mut activations: Activations,
        output_gradients: HashMap<String, Tensor>,
    ) -> Result<Gradients, AutodiffError> {
        if activations.mode == Mode::Eval {
            return Err(AutodiffError::NotTraining);
        }
        let mut pending = Pending::default();
        for (name, gradient) in output_gradients {
            let id = self.output_id(&name)?;
            let value = &activations.shapes[id.index()];
            if gradient.dims() != value {
                let (gradient, value) = (gradient.dims().to_vec(), value.clone());
                return Err(AutodiffError::GradientShape { name, gradient, value });
            }
            if self.live[id.index()] {
                pending.foreign.push(gradient.clone());
                pending.add(id, gradient.to_device(&self.device)?)?;
            }
        }
        for (range, again) in self.reversed_segments() {
            if again {
                self.recompute(range.clone(), &mut activations)?;
            }
            for step in self.steps[range].iter().rev() {
                let gradients: Vec<Option<Tensor>> = step
                    .node
                    .outputs
                    .iter()
                    .map(|id| id.and_then(|id| pending.by_value.remove(&id)))
                    .collect();
                if !step.wanted.is_empty() && gradients.iter().any(Option::is_some) {
                    for index in &step.again {
                        self.make_again(&self.steps[*index], &mut activations)?;
                    }
                    self.reverse(step, &activations, gradients, &mut pending)?;
                }
                // Nothing above this node reads its outputs any more.
                for output in step.node.outputs.iter().flatten() {
                    activations.values[output.index()] = None;
                }
            }
        }
        self.collect(pending)
    }

    /// Adds what one node hands on to the gradients of its inputs.
    fn reverse(
        &self,
        step: &Step,
        activations: &Activations,
        gradients: Vec<Option<Tensor>>,
        pending: &mut Pending,
    ) -> Result<(), AutodiffError> {
        if step.by_rows {
            let rule = |site: &Site, back: &Backward| step.operator.row_vjp(site, back);
            let made = self.by_rule(step, activations, &gradients, rule)?;
            return step.node.input(0).map_or(Ok(()), |table| pending.add_rows(table, made));
        }
        let rule = |site: &Site, back: &Backward| step.operator.vjp(site, back);
        let made = self.by_rule(step, activations, &gradients, rule)?;
        // Freed first, so that a gradient which was handed on can be added to in place.
        drop(gradients);
        for ((input, gradient), wanted) in step.node.inputs.iter().zip(made).zip(&step.wanted) {
            if let (Some(id), Some(gradient), true) = (input, gradient, wanted) {
                pending.add(*id, gradient)?;
            }
        }
        Ok(())
    }

    /// A reverse rule of one node, with the forward values that it reads.
    fn by_rule<T>(
        &self,
        step: &Step,
        activations: &Activations,
        gradients: &[Option<Tensor>],
        rule: impl FnOnce(&Site, &Backward) -> Result<T, OpError>,
    ) -> Result<T, AutodiffError> {
        let pick = |ids: &[Option<ValueId>], read: &[usize]| -> Vec<Option<Tensor>> {
            ids.iter()
                .enumerate()
                .map(|(position, id)| match (id, read.contains(&position)) {
                    (Some(id), true) => activations.values[id.index()].clone(),
                    _ => None,
                })
                .collect()
        };
        let shape =
            |id: &Option<ValueId>| id.map_or_else(Vec::new, |id| activations.shapes[id.index()].clone());
        let dtype = |id: &Option<ValueId>| id.map_or(DType::F32, |id| activations.types[id.index()]);
        let back = Backward {
            inputs: &pick(&step.node.inputs, &step.reads.inputs),
            input_shapes: &step.node.inputs.iter().map(shape).collect::<Vec<_>>(),
            input_types: &step.node.inputs.iter().map(dtype).collect::<Vec<_>>(),
            outputs: &pick(&step.node.outputs, &step.reads.outputs),
            gradients,
            wanted: &step.wanted,
        };
        let site = self.site(step, activations.mode, &self.device);
        Ok(rule(&site, &back).map_err(|error| error.at(self.place(step)))?)
    }

    fn collect(&self, mut pending: Pending) -> Result<Gradients, AutodiffError> {
        let mut gradients = Gradients::default();
        for parameter in &self.parameters {
            let whole = pending.by_value.remove(&parameter.id);
            let whole = whole.map(|gradient| gradient.contiguous()).transpose()?.map(Gradient::Whole);
            let rows = pending.rows.remove(&parameter.id).map(Gradient::Rows);
            if let Some(gradient) = whole.or(rows) {
                gradients.by_value.insert(parameter.id, gradient);
            }
        }
        Ok(gradients)
    }

    fn output_id(&self, name: &str) -> Result<ValueId, AutodiffError> {
        let known = |id: &&ValueId| self.names[id.index()] == name;
        self.outputs.iter().find(known).copied().ok_or_else(|| AutodiffError::UnknownOutput {
            name: name.to_owned(),
            outputs: self.outputs.iter().map(|id| self.names[id.index()].clone()).collect(),
        })
    }
}

/// Gradients that are still being added up.
#[derive(Default)]
struct Pending {
    by_value: BTreeMap<ValueId, Tensor>,
    /// Of parameters of which only rows are read.
    rows: BTreeMap<ValueId, RowGradient>,
    /// Tensors of the caller: never written to.
    foreign: Vec<Tensor>,
}

impl Pending {
    /// Adds a contribution, in place where nobody else holds the memory of the sum or of the
    /// contribution (`Add` hands the same gradient to both sides).
    fn add(&mut self, id: ValueId, gradient: Tensor) -> Result<(), AutodiffError> {
        let Some(sum) = self.by_value.remove(&id) else {
            self.by_value.insert(id, gradient);
            return Ok(());
        };
        let sum = if self.is_unshared(&sum, &gradient) {
            accumulate::add_assign(&sum, &gradient)?;
            sum
        } else if self.is_unshared(&gradient, &sum) {
            accumulate::add_assign(&gradient, &sum)?;
            gradient
        } else {
            accumulate::add(&sum, &gradient)?
        };
        self.by_value.insert(id, sum);
        Ok(())
    }

    fn add_rows(&mut self, id: ValueId, gradient: RowGradient) -> Result<(), AutodiffError> {
        let sum = match self.rows.remove(&id) {
            Some(sum) => sum.add(&gradient)?,
            None => gradient,
        };
        self.rows.insert(id, sum);
        Ok(())
    }

    fn is_unshared(&self, tensor: &Tensor, other: &Tensor) -> bool {
        tensor.is_contiguous()
            && std::iter::once(other)
                .chain(self.by_value.values())
                .chain(&self.foreign)
                .all(|held| !accumulate::share_memory(tensor, held))
    }
}
