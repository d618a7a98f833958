//! Another share for every dropout that the graph has.
//!
//! ```text
//! x -> Dropout(ratio = a) -> y   =>   x -> Dropout(ratio = b) -> y
//! ```

use crate::{Edit, PassError, Tolerance};
use refit_graph::{Attribute, Model, Patch};

/// Sets the share; what the graph computes in evaluation stays the same bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SetDropout {
    /// Share of activations that is dropped.
    pub ratio: f32,
}

impl Edit for SetDropout {
    fn name(&self) -> &'static str {
        "set-dropout"
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
        for (id, node) in graph.nodes().filter(|(_, node)| node.op.is_refit("Dropout")) {
            let (Some(x), Some(y)) = (node.input(0), node.output(0)) else { continue };
            let ratio = [("ratio", Attribute::Float(self.ratio))];
            let dropped = patch.node(node.op.clone(), &node.name, &[x], ratio);
            patch.set_fact(dropped, graph.fact(y).clone());
            patch.replace(y, dropped);
            patch.remove(id);
        }
        Ok(patch)
    }
}
