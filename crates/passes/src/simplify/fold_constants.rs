//! ```text
//! y = f(constant, constant)             ->  constant
//! y = Shape(x), x of shape [2, 3]       ->  constant [2, 3]
//! ```

use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{DType, Dim, HostTensor, Model, Node, NodeId, Patch, ValueId};

/// Evaluates what depends on constants alone.
///
/// Trainable constants are none; a result much larger than what it is made of is left to be computed;
/// and an output of the graph keeps the node that makes it.
#[derive(Debug, Clone, Copy)]
pub struct FoldConstants;

/// Results up to this many elements are always folded, larger ones only if they do not grow.
const SMALL: usize = 1 << 16;

impl Simplify for FoldConstants {
    fn name(&self) -> &'static str {
        "fold-constants"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (id, node) in model.graph.nodes() {
            if node.outputs.iter().flatten().any(|output| model.graph.outputs().contains(output)) {
                continue;
            }
            let Some(values) = evaluate(&rewrite, id, node) else { continue };
            for (output, tensor) in node.outputs.iter().zip(values) {
                if let Some(output) = output {
                    let name = &model.graph.value(*output).name;
                    let constant = rewrite.patch.initializer(name, tensor, false);
                    rewrite.replace(*output, constant);
                }
            }
        }
        Ok(rewrite.finish())
    }
}

fn evaluate(rewrite: &Rewrite, id: NodeId, node: &Node) -> Option<Vec<HostTensor>> {
    if let Some(values) = from_facts(rewrite, node) {
        return Some(values);
    }
    if node.inner_graphs().next().is_some() || !fits(rewrite, node) {
        return None;
    }
    let graph = rewrite.graph();
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for input in &node.inputs {
        inputs.push(match input {
            None => None,
            Some(input) => {
                let constant = graph.initializer(*input).filter(|constant| !constant.trainable)?;
                Some(constant.tensor.clone())
            }
        });
    }
    let opset = refit_ops::opset_of(rewrite.model, &node.op.domain);
    // An operator that is not known, or not for these types, simply stays.
    let values = refit_ops::evaluate(node, opset, &inputs).ok();
    values.filter(|values| values.len() >= graph.node(id).outputs.len())
}

/// Shape arithmetic: the elements are in the fact, even where the input is no constant.
fn from_facts(rewrite: &Rewrite, node: &Node) -> Option<Vec<HostTensor>> {
    let [Some(output)] = node.outputs.as_slice() else { return None };
    let fact = rewrite.graph().fact(*output);
    if fact.dtype != Some(DType::I64) {
        return None;
    }
    let shape = fact.concrete_shape()?;
    let elements: Option<Vec<i64>> =
        fact.elements.as_ref()?.iter().map(|dim| dim.known().map(|size| size as i64)).collect();
    let elements = elements.filter(|elements| elements.len() == shape.iter().product::<usize>())?;
    Some(vec![HostTensor::from_i64(&shape, &elements)])
}

/// Whether every result has a known size that is worth storing.
fn fits(rewrite: &Rewrite, node: &Node) -> bool {
    let count = |value: &ValueId| {
        let shape = rewrite.shape(*value)?;
        shape.iter().map(Dim::known).try_fold(1usize, |count, dim| count.checked_mul(dim?))
    };
    let largest_input = node.inputs.iter().flatten().filter_map(count).max().unwrap_or(0);
    let attribute = node.tensor("value").map_or(0, HostTensor::len);
    let limit = SMALL.max(largest_input).max(attribute);
    node.outputs.iter().flatten().all(|output| count(output).is_some_and(|count| count <= limit))
}
