//! How good a model is on rows that it was not trained on, each number with its interval, beside
//! the answer that costs nothing (always the commonest class) and per slice.

mod baseline;
mod figures;
mod slices;
mod temperature;

use refit_stats::{
    Bootstrap, Calibration, ClassificationMetrics, ConfusionMatrix, Interval, StatsError, calibration,
    percentile_interval, resample,
};
use serde::{Deserialize, Serialize};

pub use baseline::MajorityBaseline;
pub use figures::{Figure, Judged, LabelFigure, SliceFigure, TaskEvaluation};
pub use slices::SliceMetrics;
pub use temperature::TemperatureScaling;

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
    /// The same with its interval, by a bootstrap over rows; figures of older versions have none.
    #[serde(default)]
    pub log_loss_interval: Option<Interval>,
    /// The fitted temperature and what it did, if one was fitted.
    #[serde(default)]
    pub temperature: Option<TemperatureScaling>,
    /// Every slice, the worst first.
    pub slices: Vec<SliceMetrics>,
    /// Name of the worst slice, `column=value`.
    pub worst_slice: Option<String>,
}

/// How good a model is on rows, by its task; the artifact's `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Assessment {
    /// Of single-label classification.
    Classes(Box<Evaluation>),
    /// Of every other task.
    Figures(TaskEvaluation),
}

impl Assessment {
    /// Rows that were judged.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Classes(evaluation) => evaluation.metrics.rows,
            Self::Figures(evaluation) => evaluation.rows,
        }
    }

    /// The answer that costs nothing, in a few words.
    pub fn baseline(&self) -> String {
        match self {
            Self::Classes(evaluation) => format!("always \"{}\"", evaluation.baseline.label),
            Self::Figures(evaluation) => evaluation.baseline.clone(),
        }
    }

    /// Every figure, the main one first.
    pub fn figures(&self) -> Vec<Figure> {
        let figure = |name: &str, value, baseline: Option<&refit_stats::Interval>| Figure {
            name: name.to_owned(),
            value,
            baseline: baseline.map(|baseline| baseline.estimate),
        };
        match self {
            Self::Classes(evaluation) => {
                let (metrics, baseline) = (&evaluation.metrics, &evaluation.baseline);
                vec![
                    figure("accuracy", metrics.accuracy, Some(&baseline.accuracy)),
                    figure("f1_macro", metrics.f1_macro, Some(&baseline.f1_macro)),
                    figure("precision_macro", metrics.precision_macro, None),
                    figure("recall_macro", metrics.recall_macro, None),
                ]
            }
            Self::Figures(evaluation) => evaluation.figures.clone(),
        }
    }

    /// The evaluation of a single-label classifier, if it is one.
    pub fn classes(&self) -> Option<&Evaluation> {
        match self {
            Self::Classes(evaluation) => Some(evaluation),
            Self::Figures(_) => None,
        }
    }
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
        log_loss_interval: Some(log_loss_interval(rows, &settings)?),
        temperature: None,
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
    rows.iter().map(surprise).sum::<f64>() / rows.len() as f64
}

fn log_loss_interval(rows: &[Scored], settings: &Bootstrap) -> Result<Interval, StatsError> {
    let losses: Vec<f64> = rows.iter().map(surprise).collect();
    let mean = |drawn: &[usize]| drawn.iter().map(|&row| losses[row]).sum::<f64>() / drawn.len() as f64;
    let draws = resample(rows.len(), settings, mean)?;
    Ok(percentile_interval(log_loss(rows), &draws, settings.confidence))
}

/// -ln(probability of the true class).
fn surprise(row: &Scored) -> f64 {
    // float32 rounds small probabilities to 0; the smallest normal number keeps the mean finite.
    -f64::from(row.probabilities[row.truth].max(f32::MIN_POSITIVE)).ln()
}

#[cfg(test)]
mod tests;
