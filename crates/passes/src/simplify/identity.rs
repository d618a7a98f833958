//! ```text
//! Identity(x), Cast(x) to its own type, Concat(x) alone, Reshape(x) to its own shape,
//! Transpose(x) that moves nothing                                                      ->  x
//! ```

use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{DType, Dim, Model, Node, Patch};

/// Removes nodes that hand their input on. An output of the graph keeps the node that makes it, since
/// inputs and outputs have names of their own.
#[derive(Debug, Clone, Copy)]
pub struct RemoveIdentity;

impl Simplify for RemoveIdentity {
    fn name(&self) -> &'static str {
        "remove-identity"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes() {
            let (Some(x), [Some(y)]) = (node.input(0), node.outputs.as_slice()) else { continue };
            if hands_on(&rewrite, node) && !model.graph.outputs().contains(y) {
                let x = rewrite.current(x);
                rewrite.replace(*y, x);
            }
        }
        Ok(rewrite.finish())
    }
}

fn hands_on(rewrite: &Rewrite, node: &Node) -> bool {
    if !node.op.domain.is_empty() {
        return false;
    }
    match node.op.name.as_str() {
        "Identity" => true,
        "Concat" => node.inputs.len() == 1,
        "Cast" => {
            let from = node.input(0).and_then(|x| rewrite.graph().fact(x).dtype);
            let to = node.int("to").and_then(|code| i32::try_from(code).ok()).map(DType::from_onnx);
            from.is_some() && from == to
        }
        "Transpose" => {
            node.ints("perm").is_some_and(|perm| perm.iter().enumerate().all(|(i, axis)| *axis == i as i64))
        }
        "Reshape" => {
            let shapes = node.input(0).zip(node.output(0)).map(|(x, y)| (rewrite.shape(x), rewrite.shape(y)));
            // Equal names are equal sizes; of an unknown dimension nothing follows.
            matches!(shapes, Some((Some(x), Some(y))) if x == y && !x.contains(&Dim::Unknown))
        }
        _ => false,
    }
}
