use crate::plan::Step;
use crate::threads::beside_kernels;
use crate::{AutodiffError, Program};
use candle_core::{DType, Device, Tensor};
use refit_graph::ValueId;
use refit_ops::{OpError, Site, kernels::random};
use std::collections::HashMap;

/// What a forward run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Answers only: values are freed as soon as they were read for the last time, dropout is off.
    Eval,
    /// Values that the reverse rules read are kept, dropout draws from `seed`.
    Train {
        /// The seed of this step. The same seed gives the same masks.
        seed: u64,
    },
}

/// What a forward run left behind: its outputs and, in training, what the reverse pass reads.
#[derive(Debug)]
pub struct Activations {
    pub(crate) values: Vec<Option<Tensor>>,
    pub(crate) shapes: Vec<Vec<usize>>,
    pub(crate) types: Vec<DType>,
    pub(crate) mode: Mode,
    outputs: HashMap<String, ValueId>,
}

impl Activations {
    /// An output that the program was compiled for.
    ///
    /// # Errors
    /// When the program was not compiled for it.
    pub fn output(&self, name: &str) -> Result<&Tensor, AutodiffError> {
        self.outputs
            .get(name)
            .and_then(|id| self.values[id.index()].as_ref())
            .ok_or_else(|| AutodiffError::NotKept { name: name.to_owned() })
    }

    /// Bytes of the activations that are kept for the reverse pass. Memory that several values share
    /// counts once for each of them.
    pub fn kept_bytes(&self) -> usize {
        self.values.iter().flatten().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum()
    }
}

impl Program {
    /// Runs the graph. `inputs` are tensors by name; they are moved to the program's device.
    ///
    /// # Errors
    /// When an input is absent or unknown, or an operator refuses; the error names the node.
    pub fn forward(
        &self,
        inputs: &HashMap<String, Tensor>,
        mode: Mode,
    ) -> Result<Activations, AutodiffError> {
        beside_kernels(&self.device, || self.run_forwards(inputs, mode))
    }

    fn run_forwards(
        &self,
        inputs: &HashMap<String, Tensor>,
        mode: Mode,
    ) -> Result<Activations, AutodiffError> {
        let mut values = self.bound(inputs)?;
        let mut shapes = vec![Vec::new(); self.names.len()];
        let mut types = vec![DType::F32; self.names.len()];
        for (id, value) in values.iter().enumerate() {
            if let Some(tensor) = value {
                shapes[id] = tensor.dims().to_vec();
                types[id] = tensor.dtype();
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            let outputs = self.run(step, &values, mode).map_err(|error| error.at(self.place(step)))?;
            for (id, output) in step.node.outputs.iter().zip(outputs) {
                if let Some(id) = id {
                    shapes[id.index()] = output.dims().to_vec();
                    types[id.index()] = output.dtype();
                    values[id.index()] = Some(output);
                }
            }
            match mode {
                Mode::Eval => step.dead_after_evaluation.iter().for_each(|id| values[id.index()] = None),
                Mode::Train { .. } => {
                    self.dead_in_training(index, step).for_each(|id| values[id.index()] = None);
                }
            }
        }
        let outputs = self.outputs.iter().map(|id| (self.names[id.index()].clone(), *id)).collect();
        Ok(Activations { values, shapes, types, mode, outputs })
    }

    /// The values that are there before the first node runs: inputs and constants.
    pub(crate) fn bound(
        &self,
        inputs: &HashMap<String, Tensor>,
    ) -> Result<Vec<Option<Tensor>>, AutodiffError> {
        let mut values: Vec<Option<Tensor>> = vec![None; self.names.len()];
        self.bind_inputs(inputs, &mut values)?;
        for (id, tensor) in &self.constants {
            values[id.index()] = Some(tensor.clone());
        }
        Ok(values)
    }

    fn bind_inputs(
        &self,
        inputs: &HashMap<String, Tensor>,
        values: &mut [Option<Tensor>],
    ) -> Result<(), AutodiffError> {
        let name = |id: &ValueId| self.names[id.index()].clone();
        for given in inputs.keys() {
            if !self.inputs.iter().any(|id| self.names[id.index()] == *given) {
                let inputs = self.inputs.iter().map(name).collect();
                return Err(AutodiffError::UnknownInput { name: given.clone(), inputs });
            }
        }
        for id in &self.inputs {
            match inputs.get(&self.names[id.index()]) {
                Some(tensor) => values[id.index()] = Some(tensor.to_device(&self.device)?),
                None if self.reads_input(*id) => return Err(AutodiffError::MissingInput { name: name(id) }),
                None => {}
            }
        }
        Ok(())
    }

    fn reads_input(&self, id: ValueId) -> bool {
        let overridden = self.constants.contains_key(&id);
        let read = self.steps.iter().any(|step| step.node.inputs.contains(&Some(id)));
        !overridden && (read || self.outputs.contains(&id))
    }

    pub(crate) fn run(
        &self,
        step: &Step,
        values: &[Option<Tensor>],
        mode: Mode,
    ) -> Result<Vec<Tensor>, OpError> {
        let host = step.operator.host_inputs();
        let mut inputs: Vec<Option<Tensor>> =
            step.node.inputs.iter().map(|id| id.and_then(|id| values[id.index()].clone())).collect();
        // Shape arithmetic lies on the host; it moves only where it meets data.
        let device = common_device(&inputs, host);
        for (index, input) in inputs.iter_mut().enumerate() {
            if let Some(tensor) = input {
                let target = if host.contains(&index) { &Device::Cpu } else { &device };
                if !tensor.device().same_device(target) {
                    *tensor = tensor.to_device(target)?;
                }
            }
        }
        let device = if inputs.is_empty() { &Device::Cpu } else { &device };
        step.operator.forward(&self.site(step, mode, device), &inputs)
    }

    pub(crate) fn site<'a>(&self, step: &'a Step, mode: Mode, device: &'a Device) -> Site<'a> {
        let seed = match mode {
            Mode::Eval => None,
            Mode::Train { seed } => Some(random::mix(seed ^ random::mix(step.id.index() as u64))),
        };
        Site { node: &step.node, opset: step.opset, device, seed, types: &step.types }
    }

    pub(crate) fn place(&self, step: &Step) -> String {
        let output = step.node.outputs.iter().flatten().next().map(|id| self.names[id.index()].as_str());
        match (step.node.name.as_str(), output) {
            ("", Some(output)) => format!("{}, which makes \"{output}\"", step.node.op),
            (name, _) => format!("{} \"{name}\"", step.node.op),
        }
    }
}

/// The accelerator if one of the data inputs lies there, else the host.
fn common_device(inputs: &[Option<Tensor>], host: &[usize]) -> Device {
    inputs
        .iter()
        .enumerate()
        .filter(|(index, _)| !host.contains(index))
        .filter_map(|(_, input)| input.as_ref())
        .map(Tensor::device)
        .find(|device| !device.is_cpu())
        .unwrap_or(&Device::Cpu)
        .clone()
}
