//! Any number of labels for a text, or for a pair of texts: a logistic regression for each label.

use super::loss::{AddLoss, LabelShape};
use super::{Head, Task, encode, mean, slices, text_head};
use crate::TrainError;
use crate::data::{Labels, Row, cell};
use crate::evaluation::{Assessment, Judged};
use crate::examples::{Example, Scores, Target, Tokens};
use refit_graph::DType;
use refit_passes::Edit;
use refit_predictor::{Prediction, Predictor};
use refit_preprocess::TextPreprocessor;
use refit_spec::{Metric, Task as Kind};
use refit_stats::{LabelCounts, average_precision, f1_macro, f1_micro, label_counts};
use std::collections::HashMap;

/// Multi-label classification.
pub struct MultiLabel {
    labels: Labels,
}

/// What was decided of one row.
struct Decided {
    truth: Vec<bool>,
    given: Vec<bool>,
    probabilities: Vec<f64>,
}

impl MultiLabel {
    /// For these labels.
    pub fn new(labels: &Labels) -> Self {
        Self { labels: labels.clone() }
    }

    fn truth(&self, row: &Row) -> Result<Vec<bool>, TrainError> {
        let mut truth = vec![false; self.labels.len()];
        for label in cell::several(&row.label) {
            let index = self.labels.index(&label).ok_or_else(|| TrainError::RowLabel {
                origin: row.origin.clone(),
                label: label.clone(),
                known: self.labels.names().join(", "),
            })?;
            truth[index] = true;
        }
        Ok(truth)
    }

    fn counts(&self, rows: &[Decided], chosen: &[usize]) -> Vec<LabelCounts> {
        let pairs = chosen.iter().map(|&row| (rows[row].truth.as_slice(), rows[row].given.as_slice()));
        label_counts(self.labels.len(), pairs)
    }

    /// In the order of [`NAMES`].
    fn figures(&self, rows: &[Decided], chosen: &[usize]) -> Vec<f64> {
        let counts = self.counts(rows, chosen);
        let exact = mean(chosen.iter().map(|&row| f64::from(u8::from(rows[row].truth == rows[row].given))));
        let precisions = (0..self.labels.len()).map(|label| {
            let scores: Vec<f64> = chosen.iter().map(|&row| rows[row].probabilities[label]).collect();
            let truth: Vec<bool> = chosen.iter().map(|&row| rows[row].truth[label]).collect();
            average_precision(&scores, &truth)
        });
        let defined: Vec<f64> = precisions.filter(|precision| !precision.is_nan()).collect();
        vec![f1_micro(&counts), f1_macro(&counts), exact, mean(defined.into_iter())]
    }
}

const NAMES: [&str; 4] = ["f1_micro", "f1_macro", "accuracy", "average_precision"];

fn decided(truth: Vec<bool>, logits: &[f32]) -> Decided {
    let given = logits.iter().map(|logit| *logit >= 0.0).collect();
    Decided { truth, given, probabilities: logits.iter().map(|logit| f64::from(*logit)).collect() }
}

fn decided_examples(examples: &[Example], outputs: &[Vec<f32>]) -> Vec<Decided> {
    let of = |(example, output): (&Example, &Vec<f32>)| {
        let Target::Values(values) = &example.target else { return None };
        Some(decided(values.iter().map(|value| *value > 0.5).collect(), output))
    };
    examples.iter().zip(outputs).filter_map(of).collect()
}

impl Task for MultiLabel {
    fn outputs(&self) -> usize {
        self.labels.len()
    }

    fn head(&self, head: Head) -> Box<dyn Edit> {
        text_head(head)
    }

    fn loss(&self) -> Box<dyn Edit> {
        Box::new(AddLoss {
            operator: "SigmoidCrossEntropy",
            attribute: None,
            labels: DType::F32,
            shape: LabelShape::Values,
        })
    }

    fn examples(&self, rows: &[Row], preprocessor: &TextPreprocessor) -> Result<Vec<Example>, TrainError> {
        let example = |(encoding, row)| {
            let values = self.truth(row)?.into_iter().map(|has| f32::from(u8::from(has))).collect();
            Ok(Example { texts: vec![Tokens::new(encoding)], target: Target::Values(values) })
        };
        encode(rows, preprocessor)?.into_iter().zip(rows).map(example).collect()
    }

    fn rightness(&self, examples: &[Example], outputs: &[Vec<f32>]) -> Result<Vec<f64>, TrainError> {
        let rows = decided_examples(examples, outputs);
        Ok(rows.iter().map(|row| f64::from(u8::from(row.truth == row.given))).collect())
    }

    fn metric(&self, metric: Metric, examples: &[Example], scores: &Scores) -> Result<f64, TrainError> {
        let rows = decided_examples(examples, &scores.outputs);
        let figures = self.figures(&rows, &(0..rows.len()).collect::<Vec<_>>());
        let place = NAMES.iter().position(|name| *name == metric.to_string());
        Ok(place.map_or(scores.loss, |place| figures[place]))
    }

    fn evaluate(
        &self,
        predictor: &Predictor,
        rows: &[Row],
    ) -> Result<(Assessment, Vec<Prediction>), TrainError> {
        let answers = predictor.predict_batch(rows)?;
        let judged: Vec<Decided> = rows
            .iter()
            .zip(&answers)
            .map(|(row, answer)| Ok(decided(self.truth(row)?, &answer.logits)))
            .collect::<Result<_, TrainError>>()?;
        let constant = commonest(&judged);
        let baseline: Vec<Decided> = judged
            .iter()
            .map(|row| Decided {
                truth: row.truth.clone(),
                given: constant.clone(),
                probabilities: constant.iter().map(|given| f64::from(u8::from(*given))).collect(),
            })
            .collect();
        let all: Vec<usize> = (0..rows.len()).collect();
        let given: Vec<&str> = self
            .labels
            .names()
            .iter()
            .zip(&constant)
            .filter(|(_, given)| **given)
            .map(|(n, _)| n.as_str())
            .collect();
        let support = self.counts(&judged, &all);
        let evaluation = Judged {
            task: Kind::MultiLabelClassification.to_string(),
            slices: slices(rows),
            names: &NAMES,
            figures: &|chosen| self.figures(&judged, chosen),
            baseline: (
                format!("always the commonest set of labels, {{{}}}", given.join(", ")),
                self.figures(&baseline, &all).into_iter().map(Some).collect(),
            ),
            labels: self.labels.names().iter().cloned().zip(support.iter().map(|c| c.actual)).collect(),
            by_label: &|chosen| self.counts(&judged, chosen).iter().map(LabelCounts::f1).collect(),
            less_is_better: false,
        };
        Ok((Assessment::Figures(evaluation.evaluate(Vec::new())?), answers))
    }
}

/// The set of labels that most rows have.
fn commonest(rows: &[Decided]) -> Vec<bool> {
    let mut counts: HashMap<&[bool], usize> = HashMap::new();
    rows.iter().for_each(|row| *counts.entry(&row.truth).or_default() += 1);
    let most = counts.into_iter().max_by_key(|(set, count)| (*count, std::cmp::Reverse(set.to_vec())));
    most.map(|(set, _)| set.to_vec()).unwrap_or_default()
}
