//! ```text
//! Mul(x, Sigmoid(x)), Swish(x; alpha = 1)  ->  refit.Silu(x)
//! ```

use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{Model, Node, OpName, Patch, ValueId};

/// Recognises SiLU.
#[derive(Debug, Clone, Copy)]
pub struct RecogniseSilu;

impl Simplify for RecogniseSilu {
    fn name(&self) -> &'static str {
        "recognise-silu"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes() {
            let Some((x, y)) = input(&rewrite, node).zip(node.output(0)) else { continue };
            let new = rewrite.node(OpName::refit("Silu"), &node.name, &[x], []);
            rewrite.replace(y, new);
        }
        Ok(rewrite.finish())
    }
}

fn input(rewrite: &Rewrite, node: &Node) -> Option<ValueId> {
    if node.op.is("Swish") {
        return node.input(0).filter(|_| node.float("alpha").unwrap_or(1.0) == 1.0);
    }
    let gated =
        |(x, gate): (ValueId, ValueId)| (rewrite.made_by(gate, "Sigmoid")?.input(0)? == x).then_some(x);
    rewrite.either_order(node.output(0)?, "Mul").into_iter().find_map(gated)
}
