//! Puts dropout back where an export for inference lost it: after the embeddings and after what each block
//! adds to its stream, as in Vaswani et al. 2017, section 5.4.
//!
//! ```text
//! token + position -> LayerNorm -> layer 0         token + position -> LayerNorm -> Dropout -> layer 0
//! x -+-> ... -> Linear -> Add -> LayerNorm    =>   x -+-> ... -> Linear -> Dropout -> Add -> LayerNorm
//!    +---------------------^                          +------------------------------^
//! ```

use crate::{Edit, PassError, Tolerance};
use refit_graph::{Attribute, Graph, Model, Node, NodeId, OpName, Patch, ValueId};

/// Inserts dropout; what the graph computes in evaluation stays the same bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InsertDropout {
    /// Share of activations that is dropped.
    pub ratio: f32,
}

impl InsertDropout {
    /// Whether a graph has dropout somewhere: then its author chose the places.
    pub fn is_needed(graph: &Graph) -> bool {
        let dropout = OpName::refit("Dropout");
        !graph.nodes().any(|(_, node)| node.op == dropout || node.op.is("Dropout"))
    }
}

impl Edit for InsertDropout {
    fn name(&self) -> &'static str {
        "insert-dropout"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        if !(0.0..1.0).contains(&self.ratio) {
            return Err(PassError::refused(format!("a dropout of {} is not in [0, 1)", self.ratio)));
        }
        let mut patch = Patch::new(graph);
        if self.ratio == 0.0 {
            return Ok(patch);
        }
        for (value, name) in places(graph) {
            let ratio = [("ratio", Attribute::Float(self.ratio))];
            let dropped = patch.node(OpName::refit("Dropout"), &format!("{name}.dropout"), &[value], ratio);
            patch.set_fact(dropped, graph.fact(value).clone());
            patch.replace(value, dropped);
        }
        Ok(patch)
    }
}

/// The values to drop from, with the name of the node that makes each.
fn places(graph: &Graph) -> Vec<(ValueId, String)> {
    let producers = graph.producers();
    let consumers = graph.consumers();
    let (linear, norm, add) = (OpName::refit("Linear"), OpName::refit("LayerNorm"), OpName::standard("Add"));
    let maker = |id: ValueId| producers[id.index()].map(|node| graph.node(node));
    let mut places = Vec::new();
    // What is computed of the inputs without any linear layer, up to its norm, is the embedding.
    let mut after_linear = vec![false; graph.value_count()];
    let mut embedded = false;
    for (_, node) in graph.nodes() {
        let behind = node.op == linear || node.inputs.iter().flatten().any(|id| after_linear[id.index()]);
        for output in node.outputs.iter().flatten() {
            after_linear[output.index()] = behind;
        }
        if node.op == norm && !behind && !embedded && has_sequence(graph, node) {
            embedded = true;
            places.extend(node.output(0).map(|value| (value, node.name.clone())));
        }
        if node.op != add {
            continue;
        }
        let (Some(a), Some(b)) = (node.input(0), node.input(1)) else { continue };
        let is_residual = |branch: ValueId, stream: ValueId| {
            maker(branch).is_some_and(|maker| maker.op == linear)
                && maker(stream).is_some_and(|maker| maker.op != linear)
                && read_only_by_one(&consumers, graph, branch)
        };
        for (branch, stream) in [(a, b), (b, a)] {
            if is_residual(branch, stream) {
                places.extend(maker(branch).map(|maker| (branch, maker.name.clone())));
            }
        }
    }
    places
}

fn has_sequence(graph: &Graph, node: &Node) -> bool {
    node.output(0).and_then(|value| graph.fact(value).rank()) == Some(3)
}

fn read_only_by_one(consumers: &[Vec<NodeId>], graph: &Graph, value: ValueId) -> bool {
    consumers[value.index()].len() == 1 && !graph.outputs().contains(&value)
}
