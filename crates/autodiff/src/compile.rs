use crate::plan::{self, Step};
use crate::segments::Segments;
use crate::{AutodiffError, Gradients};
use candle_core::{Device, Tensor};
use refit_graph::{DType, Model, ValueId};
use refit_ops::Reads;
use std::collections::BTreeMap;

/// A graph that is ready to run, with its parameters on a device.
pub struct Program {
    pub(crate) device: Device,
    pub(crate) steps: Vec<Step>,
    /// The name of every value.
    pub(crate) names: Vec<String>,
    pub(crate) constants: BTreeMap<ValueId, Tensor>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) parameters: Vec<Parameter>,
    /// Constants that training changes by itself, and the value that holds what each becomes.
    pub(crate) statistics: Vec<(ValueId, ValueId)>,
    /// Which values a gradient has to reach.
    pub(crate) live: Vec<bool>,
    /// Where activations are kept, if not everywhere.
    pub(crate) segments: Option<Segments>,
}

/// A trainable initializer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The value in the model's graph.
    pub id: ValueId,
    /// Its name there.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Program {
    /// Prepares the part of `model` that makes `outputs` and copies its constants to `device`.
    ///
    /// # Errors
    /// When an output does not exist, operators are not supported or not differentiable (all of them are
    /// named with their places), or a trainable parameter is not float32.
    pub fn compile(model: &Model, outputs: &[&str], device: &Device) -> Result<Self, AutodiffError> {
        let graph = &model.graph;
        let output_ids = output_ids(model, outputs)?;
        let needed = plan::needed_nodes(graph, &output_ids);
        let mut steps = Vec::new();
        let mut places = Vec::new();
        for (id, node) in graph.nodes().filter(|(id, _)| needed[id.index()]) {
            let opset = refit_ops::opset_of(model, &node.op.domain);
            match refit_ops::find(&node.op, opset) {
                Some(operator) => steps.push(Step {
                    id,
                    node: node.clone(),
                    opset,
                    operator,
                    types: node.outputs.iter().map(|id| graph.fact((*id)?).dtype).collect(),
                    wanted: Vec::new(),
                    by_rows: false,
                    reads: Reads::default(),
                    again: Vec::new(),
                    dead_after_evaluation: Vec::new(),
                    dead_after_training: Vec::new(),
                }),
                None => places.push(graph.describe(id)),
            }
        }
        if !places.is_empty() {
            return Err(AutodiffError::Unsupported { places });
        }

        let mut read = vec![false; graph.value_count()];
        for id in steps.iter().flat_map(|step| step.node.inputs.iter().flatten()).chain(&output_ids) {
            read[id.index()] = true;
        }
        let mut live = vec![false; graph.value_count()];
        let mut kept = vec![false; graph.value_count()];
        let mut constants = BTreeMap::new();
        let mut parameters = Vec::new();
        for (id, initializer) in graph.initializers().filter(|(id, i)| read[id.index()] || i.trainable) {
            constants.insert(id, refit_ops::to_device(&initializer.tensor, device)?);
            kept[id.index()] = true;
            if initializer.trainable {
                let (name, dtype) = (graph.value(id).name.clone(), initializer.tensor.dtype());
                if dtype != DType::F32 {
                    return Err(AutodiffError::ParameterType { name, dtype });
                }
                parameters.push(Parameter { id, name, shape: initializer.tensor.shape().to_vec() });
                live[id.index()] = true;
            }
        }
        plan::mark_live(graph, &mut steps, &mut live)?;
        if device.is_cpu() {
            plan::mark_rows(&mut steps, parameters.iter().map(|parameter| parameter.id));
        }
        for id in output_ids.iter().chain(graph.inputs()) {
            kept[id.index()] = true;
        }
        let statistics = plan::statistics(&steps, &constants);
        for (_, next) in &statistics {
            kept[next.index()] = true;
        }
        plan::mark_dead(graph.value_count(), &mut steps, &kept);

        Ok(Self {
            device: device.clone(),
            steps,
            names: names(model),
            constants,
            inputs: graph.inputs().to_vec(),
            outputs: output_ids,
            parameters,
            statistics,
            live,
            segments: None,
        })
    }

    /// The trainable initializers of the model, in the graph's order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Names of the graph's inputs, in its order.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|id| self.names[id.index()].as_str())
    }

    /// Where the parameters lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Names of trainable parameters that `gradients` does not reach: the loss does not depend on them.
    pub fn missing_gradients(&self, gradients: &Gradients) -> Vec<String> {
        self.parameters
            .iter()
            .filter(|parameter| gradients.get(parameter.id).is_none())
            .map(|parameter| parameter.name.clone())
            .collect()
    }
}

/// The name of every value, by its index.
fn names(model: &Model) -> Vec<String> {
    let graph = &model.graph;
    let mut names = vec![String::new(); graph.value_count()];
    let made = graph.nodes().flat_map(|(_, node)| node.inputs.iter().chain(&node.outputs).flatten());
    for id in made.chain(graph.inputs()).chain(graph.outputs()) {
        names[id.index()].clone_from(&graph.value(*id).name);
    }
    names
}

fn output_ids(model: &Model, names: &[&str]) -> Result<Vec<ValueId>, AutodiffError> {
    let graph = &model.graph;
    names
        .iter()
        .map(|name| {
            graph.find(name).ok_or_else(|| AutodiffError::UnknownOutput {
                name: (*name).to_owned(),
                outputs: graph.outputs().iter().map(|id| graph.value(*id).name.clone()).collect(),
            })
        })
        .collect()
}
