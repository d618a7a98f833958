//! The losses that are one operator over the head's output.

use refit_graph::{Attribute, DType, Dim, Fact, Model, OpName, Patch};
use refit_passes::{Edit, PassError, Tolerance};

/// Adds the loss: input `labels`, output `loss` beside `logits`.
///
/// ```text
/// logits -> ...            logits -> ...
///                    =>    logits, labels -> operator -> loss
/// ```
pub struct AddLoss {
    /// The operator, of the domain refit.
    pub operator: &'static str,
    /// Its attribute.
    pub attribute: Option<(&'static str, f32)>,
    /// Type of the labels.
    pub labels: DType,
    /// How their shape follows from that of the logits.
    pub shape: LabelShape,
}

/// How the shape of labels follows from that of logits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LabelShape {
    /// All axes but the last: one class for each row of logits.
    Classes,
    /// All axes: one value for each logit.
    Values,
}

impl Edit for AddLoss {
    fn name(&self) -> &'static str {
        "add-loss"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let logits = graph
            .find("logits")
            .ok_or_else(|| PassError::refused("the model has no value \"logits\" to compute a loss of"))?;
        let mut axes = graph.fact(logits).shape.clone().unwrap_or_default();
        if self.shape == LabelShape::Classes {
            axes.pop();
        }
        if let Some(batch) = axes.first_mut() {
            *batch = Dim::Symbol("batch".to_owned());
        }
        let mut patch = Patch::new(graph);
        let labels = patch.input("labels", Fact::new(self.labels, axes));
        let attribute = self.attribute.map(|(name, value)| (name, Attribute::Float(value)));
        let loss = patch.node(OpName::refit(self.operator), "loss", &[logits, labels], attribute);
        patch.set_outputs(vec![loss, logits]);
        Ok(patch)
    }
}
