//! Which epoch's weights are kept, and when to stop.

use crate::TrainError;
use refit_autodiff::Program;
use refit_graph::Model;
use refit_spec::{EarlyStopping, Metric};
use refit_stats::{ConfusionMatrix, StatsError};

/// Logits of rows with a known label.
#[derive(Debug, Clone)]
pub struct Scores {
    /// One row an example.
    pub logits: Vec<Vec<f32>>,
    /// Index of the true label of each row.
    pub truth: Vec<usize>,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Number of labels.
    pub label_count: usize,
}

impl Scores {
    /// The metric over all rows.
    ///
    /// # Errors
    /// When there are no rows.
    pub fn metric(&self, metric: Metric) -> Result<f64, StatsError> {
        let pairs = self.truth.iter().zip(&self.logits).map(|(&truth, logits)| (truth, argmax(logits)));
        let confusion = ConfusionMatrix::from_pairs(self.label_count, pairs)?;
        let point = confusion.point_metrics();
        Ok(match metric {
            Metric::Accuracy => point.accuracy,
            Metric::F1Macro => point.f1_macro,
            Metric::PrecisionMacro => point.precision_macro,
            Metric::RecallMacro => point.recall_macro,
            Metric::Loss => self.loss,
        })
    }
}

/// Index of the largest value; the first of equals.
pub fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Keeps the weights of the best epoch in the model.
pub struct BestWeights {
    rule: EarlyStopping,
    best: Option<f64>,
    epochs_since: usize,
}

impl BestWeights {
    /// None kept yet.
    pub fn new(rule: EarlyStopping) -> Self {
        Self { rule, best: None, epochs_since: 0 }
    }

    /// Writes the program's weights into `model` if `metric` is better than all before.
    ///
    /// # Errors
    /// When the model is not the one that the program was made of.
    pub fn offer(&mut self, program: &Program, model: &mut Model, metric: f64) -> Result<bool, TrainError> {
        let better = self.best.is_none_or(|best| {
            if self.rule.metric.higher_is_better() { metric > best } else { metric < best }
        });
        if better {
            program.write_back(model)?;
            self.best = Some(metric);
            self.epochs_since = 0;
        } else {
            self.epochs_since += 1;
        }
        Ok(better)
    }

    /// Whether patience is used up.
    pub fn is_exhausted(&self) -> bool {
        self.epochs_since >= self.rule.patience
    }
}
