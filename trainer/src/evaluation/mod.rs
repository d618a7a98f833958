//! How good a model is on rows that it was not trained on, each number with its interval, beside
//! the answer that costs nothing (always the commonest class) and per slice.

mod baseline;
mod slices;

use refit_stats::{Bootstrap, Calibration, ClassificationMetrics, ConfusionMatrix, StatsError, calibration};
use serde::{Deserialize, Serialize};

pub use baseline::MajorityBaseline;
pub use slices::SliceMetrics;

/// Bins of the reliability plot.
const RELIABILITY_BINS: usize = 10;

/// One evaluated row.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Index of the true label.
    pub truth: usize,
    /// One probability a label, in the order of the labels.
    pub probabilities: Vec<f32>,
    /// (column, value) of the slices that the row belongs to.
    pub slices: Vec<(String, String)>,
}

/// What [`evaluate`] found; the artifact's `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Names of the classes, in the order of every other list of classes.
    pub labels: Vec<String>,
    /// Accuracy, precision, recall and F1.
    pub metrics: ClassificationMetrics,
    /// Always answering the commonest class.
    pub baseline: MajorityBaseline,
    /// Rows by (true class, predicted class).
    pub confusion: ConfusionMatrix,
    /// Whether stated confidences come true.
    pub calibration: Calibration,
    /// Mean of -ln(probability of the true class).
    pub log_loss: f64,
    /// Every slice, the worst first.
    pub slices: Vec<SliceMetrics>,
    /// Name of the worst slice, `column=value`.
    pub worst_slice: Option<String>,
}

/// Why rows could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// There are no rows.
    #[error("there are no rows to evaluate: raise the split's share or give more data")]
    NoRows,
    /// A row's probabilities do not belong to the labels.
    #[error("row {row} has {found} probabilities for {labels} labels")]
    WrongWidth {
        /// Index of the row.
        row: usize,
        /// Probabilities it has.
        found: usize,
        /// Labels there are.
        labels: usize,
    },
    /// A row's true label does not exist.
    #[error("row {row} has the label index {truth}, and there are {labels} labels")]
    UnknownLabel {
        /// Index of the row.
        row: usize,
        /// Its label index.
        truth: usize,
        /// Labels there are.
        labels: usize,
    },
    /// A probability is NaN or infinite.
    #[error(
        "row {row} has a probability that is not a number: the training has diverged, lower train.learning_rate"
    )]
    NotFinite {
        /// Index of the row.
        row: usize,
    },
    /// A metric could not be computed.
    #[error("a metric could not be computed")]
    Metric(#[from] StatsError),
}

impl Scored {
    /// Index of the most probable label, the first of equals.
    pub fn predicted(&self) -> usize {
        let mut best = 0;
        for (index, probability) in self.probabilities.iter().enumerate() {
            if *probability > self.probabilities[best] {
                best = index;
            }
        }
        best
    }

    /// Probability of the most probable label.
    pub fn confidence(&self) -> f64 {
        self.probabilities.get(self.predicted()).map_or(0.0, |&probability| f64::from(probability))
    }

    /// Whether the most probable label is the true one.
    pub fn is_correct(&self) -> bool {
        self.predicted() == self.truth
    }
}

/// Evaluates `rows` of a classifier with `labels`.
pub fn evaluate(labels: &[String], rows: &[Scored]) -> Result<Evaluation, EvaluationError> {
    check(labels, rows)?;
    let settings = Bootstrap::default();
    let pairs = rows.iter().map(|row| (row.truth, row.predicted()));
    let confusion = ConfusionMatrix::from_pairs(labels.len(), pairs)?;
    let confidences: Vec<f64> = rows.iter().map(|row| row.confidence().min(1.0)).collect();
    let correct: Vec<bool> = rows.iter().map(Scored::is_correct).collect();
    let slices = slices::by_slice(labels.len(), rows, settings.confidence)?;
    Ok(Evaluation {
        labels: labels.to_vec(),
        metrics: confusion.metrics(&settings)?,
        baseline: MajorityBaseline::of(labels, &confusion, &settings)?,
        calibration: calibration(&confidences, &correct, RELIABILITY_BINS, &settings)?,
        log_loss: log_loss(rows),
        worst_slice: slices.first().map(SliceMetrics::name),
        slices,
        confusion,
    })
}

fn check(labels: &[String], rows: &[Scored]) -> Result<(), EvaluationError> {
    if rows.is_empty() {
        return Err(EvaluationError::NoRows);
    }
    for (row, scored) in rows.iter().enumerate() {
        if scored.probabilities.len() != labels.len() {
            let found = scored.probabilities.len();
            return Err(EvaluationError::WrongWidth { row, found, labels: labels.len() });
        }
        if scored.truth >= labels.len() {
            return Err(EvaluationError::UnknownLabel { row, truth: scored.truth, labels: labels.len() });
        }
        if scored.probabilities.iter().any(|probability| !probability.is_finite()) {
            return Err(EvaluationError::NotFinite { row });
        }
    }
    Ok(())
}

fn log_loss(rows: &[Scored]) -> f64 {
    // float32 rounds small probabilities to 0; the smallest normal number keeps the mean finite.
    let of_truth = |row: &Scored| f64::from(row.probabilities[row.truth].max(f32::MIN_POSITIVE));
    rows.iter().map(|row| -of_truth(row).ln()).sum::<f64>() / rows.len() as f64
}

#[cfg(test)]
mod tests;
