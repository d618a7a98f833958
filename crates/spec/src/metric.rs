use crate::reader::words;

/// A measure of how good a classifier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Share of right answers.
    Accuracy,
    /// Unweighted mean of the classes' F1.
    F1Macro,
    /// Unweighted mean of the classes' precision.
    PrecisionMacro,
    /// Unweighted mean of the classes' recall.
    RecallMacro,
    /// Mean cross-entropy; less is better.
    Loss,
}

words!(Metric {
    Accuracy = "accuracy",
    F1Macro = "f1_macro",
    PrecisionMacro = "precision_macro",
    RecallMacro = "recall_macro",
    Loss = "loss",
});

impl Metric {
    /// Whether a larger value is a better one.
    pub fn higher_is_better(self) -> bool {
        self != Self::Loss
    }
}
