//! Adds trained adapters into the weights beside which they stand.
//!
//! ```text
//! x -+-> Linear(W, b) --------------------------------> Add -> y    =>    x -> Linear(W + s B A, b) -> y
//!    +-> Dropout -> Linear(A) -> Linear(B) -> * s --------^
//! ```

use super::lora::{A, B, SCALE};
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Graph, HostTensor, Model, Node, NodeId, Patch, ValueId};

/// Largest difference that merging may make: rounding of one more addition in each merged weight.
const ROUNDING: f32 = 1e-4;

/// Merges every adapter that [`super::Lora`] made. Without any the model stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeLora;

impl Edit for MergeLora {
    fn name(&self) -> &'static str {
        "merge-lora"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Rounding(ROUNDING)
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let consumers = graph.consumers();
        let mut patch = Patch::new(graph);
        for (id, initializer) in graph.initializers() {
            let Some(module) = graph.value(id).name.strip_suffix(A) else { continue };
            let adapter = Adapter::find(graph, &consumers, module, id).ok_or_else(|| {
                PassError::refused(format!(
                    "the adapter of \"{module}\" is not in the form in which refit adds adapters; it cannot be merged"
                ))
            })?;
            let merged = adapter.merged(graph, &initializer.tensor).ok_or_else(|| {
                PassError::refused(format!("the adapter of \"{module}\" does not fit the weight beside it"))
            })?;
            let name = graph.value(adapter.weight).name.clone();
            let trainable = graph.initializer(adapter.weight).is_some_and(|weight| weight.trainable);
            let weight = patch.initializer(&name, merged, trainable);
            patch.replace(adapter.weight, weight);
            patch.rename(weight, &name);
            for (sum, output) in adapter.sums {
                patch.replace(sum, output);
            }
        }
        Ok(patch)
    }
}

/// One adapter and the layers beside it.
struct Adapter {
    weight: ValueId,
    /// Whether the weight is `[outputs, inputs]`.
    outputs_first: bool,
    up: ValueId,
    scale: f32,
    /// For each layer its result with the adapter and alone.
    sums: Vec<(ValueId, ValueId)>,
}

impl Adapter {
    fn find(graph: &Graph, consumers: &[Vec<NodeId>], module: &str, down: ValueId) -> Option<Self> {
        let producers = graph.producers();
        let only_reader = |id: ValueId| -> Option<&Node> {
            match consumers[id.index()].as_slice() {
                [reader] => Some(graph.node(*reader)),
                _ => None,
            }
        };
        let mut found: Option<Self> = None;
        for first in &consumers[down.index()] {
            let first = Some(graph.node(*first)).filter(|node| node.op.is_refit("Linear"))?;
            let second = only_reader(first.output(0)?).filter(|node| node.op.is_refit("Linear"))?;
            let up = second.input(1).filter(|id| graph.value(*id).name == format!("{module}{B}"))?;
            let scaled = only_reader(second.output(0)?).filter(|node| node.op.is("Mul"))?;
            let scale = scaled.input(1).filter(|id| graph.value(*id).name == format!("{module}{SCALE}"))?;
            let scale = *graph.initializer(scale)?.tensor.to_f32()?.first()?;
            let sum = only_reader(scaled.output(0)?).filter(|node| node.op.is("Add"))?;

            let output = sum.input(0)?;
            let layer = producers[output.index()].map(|id| graph.node(id))?;
            let read = first.input(0)?;
            let dropout = producers[read.index()].map(|id| graph.node(id));
            let before = dropout.filter(|node| node.op.is_refit("Dropout")).and_then(|node| node.input(0));
            let fits = layer.op.is_refit("Linear")
                && (layer.input(0) == Some(read) || (before.is_some() && layer.input(0) == before));
            let weight = layer.input(1).filter(|_| fits)?;
            let outputs_first = layer.int("transB") == Some(1);
            let sums = vec![(sum.output(0)?, output)];
            match &mut found {
                None => found = Some(Self { weight, outputs_first, up, scale, sums }),
                Some(found) if found.weight == weight && found.outputs_first == outputs_first => {
                    found.sums.extend(sums);
                }
                Some(_) => return None,
            }
        }
        found.filter(|found| consumers[found.weight.index()].len() == found.sums.len())
    }

    /// W + scale * B A in the layout of W; products are summed in float64.
    fn merged(&self, graph: &Graph, down: &HostTensor) -> Option<HostTensor> {
        let up = &graph.initializer(self.up)?.tensor;
        let weight = &graph.initializer(self.weight)?.tensor;
        let (&[rank, inputs], &[outputs, up_rank]) = (down.shape(), up.shape()) else { return None };
        let expected = if self.outputs_first { [outputs, inputs] } else { [inputs, outputs] };
        if rank != up_rank || weight.shape() != expected {
            return None;
        }
        let (down, up, mut values) = (down.to_f32()?, up.to_f32()?, weight.to_f32()?);
        let mut row = vec![0f64; inputs];
        for output in 0..outputs {
            row.fill(0.0);
            for r in 0..rank {
                let factor = f64::from(up[output * rank + r]);
                for (sum, a) in row.iter_mut().zip(&down[r * inputs..(r + 1) * inputs]) {
                    *sum += factor * f64::from(*a);
                }
            }
            for (input, sum) in row.iter().enumerate() {
                let place =
                    if self.outputs_first { output * inputs + input } else { input * outputs + output };
                values[place] = (f64::from(values[place]) + f64::from(self.scale) * sum) as f32;
            }
        }
        Some(HostTensor::from_f32(&expected, &values))
    }
}
