use crate::reader::words;

/// A measure of how good a model is; which ones there are depends on its task ([`crate::Task::metrics`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Share of right answers: of texts, of rows whose set of labels is right, or of words.
    Accuracy,
    /// Unweighted mean of the classes' F1.
    F1Macro,
    /// Unweighted mean of the classes' precision.
    PrecisionMacro,
    /// Unweighted mean of the classes' recall.
    RecallMacro,
    /// F1 of all decisions about labels together.
    F1Micro,
    /// Unweighted mean of the labels' average precision.
    AveragePrecision,
    /// Coefficient of determination.
    R2,
    /// Pearson's correlation.
    Pearson,
    /// Spearman's correlation of ranks.
    Spearman,
    /// Mean absolute error; less is better.
    MeanAbsoluteError,
    /// Root of the mean squared error; less is better.
    RootMeanSquaredError,
    /// F1 of whole entities, all kinds together.
    EntityF1,
    /// Precision of whole entities.
    EntityPrecision,
    /// Recall of whole entities.
    EntityRecall,
    /// F1 of the words of answers (SQuAD).
    AnswerF1,
    /// Share of answers that are right word for word (SQuAD).
    ExactMatch,
    /// Share of texts whose own pair is the nearest of all.
    RecallAt1,
    /// Share of texts whose own pair is among the ten nearest.
    RecallAt10,
    /// Mean of 1 / rank of the text's own pair.
    MeanReciprocalRank,
    /// Mean loss; less is better.
    Loss,
}

words!(Metric {
    Accuracy = "accuracy",
    F1Macro = "f1_macro",
    PrecisionMacro = "precision_macro",
    RecallMacro = "recall_macro",
    F1Micro = "f1_micro",
    AveragePrecision = "average_precision",
    R2 = "r2",
    Pearson = "pearson",
    Spearman = "spearman",
    MeanAbsoluteError = "mae",
    RootMeanSquaredError = "rmse",
    EntityF1 = "entity_f1",
    EntityPrecision = "entity_precision",
    EntityRecall = "entity_recall",
    AnswerF1 = "answer_f1",
    ExactMatch = "exact_match",
    RecallAt1 = "recall_at_1",
    RecallAt10 = "recall_at_10",
    MeanReciprocalRank = "mrr",
    Loss = "loss",
});

impl Metric {
    /// Whether a larger value is a better one.
    pub fn higher_is_better(self) -> bool {
        !matches!(self, Self::Loss | Self::MeanAbsoluteError | Self::RootMeanSquaredError)
    }
}
