//! ```text
//! Dropout(x; ratio)  ->  refit.Dropout(x; ratio)
//! ```

use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{Attribute, Model, Node, OpName, Patch};

/// Recognises the standard's dropout, whose ratio is an attribute before opset 12 and an input after.
#[derive(Debug, Clone, Copy)]
pub struct RecogniseDropout;

/// The standard's ratio where none is given.
const DEFAULT_RATIO: f32 = 0.5;

impl Simplify for RecogniseDropout {
    fn name(&self) -> &'static str {
        "recognise-dropout"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes().filter(|(_, node)| node.op.is("Dropout")) {
            let (Some(x), Some(y)) = (node.input(0), node.output(0)) else { continue };
            let Some(ratio) = ratio(&rewrite, node) else { continue };
            // The mask, or a training mode that is on in inference too, is beyond the canonical operator.
            let drops = ratio != 0.0 && node.input(2).is_some_and(|mode| !is_off(&rewrite, mode));
            if drops || node.output(1).is_some_and(|mask| !rewrite.unread(mask)) {
                continue;
            }
            let attributes = [("ratio", Attribute::Float(ratio))];
            let new = rewrite.node(OpName::refit("Dropout"), &node.name, &[x], attributes);
            rewrite.replace(y, new);
        }
        Ok(rewrite.finish())
    }
}

/// Whether the training mode is the constant false.
fn is_off(rewrite: &Rewrite, mode: refit_graph::ValueId) -> bool {
    rewrite.constant(mode).and_then(|tensor| tensor.to_i64()).is_some_and(|mode| mode == [0])
}

fn ratio(rewrite: &Rewrite, node: &Node) -> Option<f32> {
    match node.input(1) {
        Some(ratio) => rewrite.scalar(ratio),
        None => Some(node.float("ratio").unwrap_or(DEFAULT_RATIO)),
    }
}
