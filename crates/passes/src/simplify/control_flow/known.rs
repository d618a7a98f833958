//! Values of a body that follow from constants: enough to know how often a loop runs.

use crate::rewrite::Rewrite;
use refit_graph::{Graph, HostTensor, ValueId};
use std::collections::HashMap;

/// Larger tensors are not computed with here.
const MAX_ELEMENTS: usize = 1024;

/// What is known of the values of one iteration.
pub(super) type Known = HashMap<ValueId, HostTensor>;

/// Constants that a body holds or reads from outside.
pub(super) fn constants(rewrite: &Rewrite, body: &Graph) -> Known {
    let captured = body.captures().iter().filter_map(|id| {
        let outer = rewrite.graph().find(&body.value(*id).name)?;
        Some((*id, rewrite.constant(outer)?.clone()))
    });
    let own = body.initializers().map(|(id, initializer)| (id, initializer.tensor.clone()));
    captured.chain(own).filter(|(_, tensor)| tensor.len() <= MAX_ELEMENTS).collect()
}

/// Computes every node of the body whose inputs are known.
pub(super) fn follow(rewrite: &Rewrite, body: &Graph, known: &mut Known) {
    for (_, node) in body.nodes().filter(|(_, node)| node.inner_graphs().next().is_none()) {
        let input = |id: &Option<ValueId>| match id {
            Some(id) => known.get(id).cloned().map(Some),
            None => Some(None),
        };
        let Some(inputs) = node.inputs.iter().map(input).collect::<Option<Vec<_>>>() else { continue };
        let opset = refit_ops::opset_of(rewrite.model, &node.op.domain);
        let Ok(outputs) = refit_ops::evaluate(node, opset, &inputs) else { continue };
        for (id, output) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id.filter(|_| output.len() <= MAX_ELEMENTS) {
                known.insert(id, output);
            }
        }
    }
}
