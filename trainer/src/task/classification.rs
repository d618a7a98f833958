//! One label for a text, or for a pair of texts.

use super::loss::{AddLoss, LabelShape};
use super::{Head, Task, argmax, encode, text_head};
use crate::TrainError;
use crate::data::{Labels, Row};
use crate::evaluation::{Assessment, Scored, evaluate};
use crate::examples::{Example, Scores, Target, Tokens};
use refit_graph::DType;
use refit_passes::Edit;
use refit_predictor::{Prediction, Predictor};
use refit_preprocess::TextPreprocessor;
use refit_spec::Metric;
use refit_stats::ConfusionMatrix;

/// Single-label classification: softmax over the labels.
pub struct Classification {
    labels: Labels,
    label_smoothing: f32,
}

impl Classification {
    /// For these labels; `label_smoothing` is the share of the target that is spread over all of them.
    pub fn new(labels: &Labels, label_smoothing: f32) -> Self {
        Self { labels: labels.clone(), label_smoothing }
    }

    fn index(&self, row: &Row) -> Result<usize, TrainError> {
        self.labels.index(&row.label).ok_or_else(|| TrainError::RowLabel {
            origin: row.origin.clone(),
            label: row.label.clone(),
            known: self.labels.names().join(", "),
        })
    }
}

impl Task for Classification {
    fn outputs(&self) -> usize {
        self.labels.len()
    }

    fn head(&self, head: Head) -> Box<dyn Edit> {
        text_head(head)
    }

    fn loss(&self) -> Box<dyn Edit> {
        Box::new(AddLoss {
            operator: "SoftmaxCrossEntropy",
            attribute: Some(("label_smoothing", self.label_smoothing)),
            labels: DType::I64,
            shape: LabelShape::Classes,
        })
    }

    fn examples(&self, rows: &[Row], preprocessor: &TextPreprocessor) -> Result<Vec<Example>, TrainError> {
        encode(rows, preprocessor)?
            .into_iter()
            .zip(rows)
            .map(|(encoding, row)| {
                let target = Target::Class(self.index(row)?);
                Ok(Example { texts: vec![Tokens::new(encoding)], target })
            })
            .collect()
    }

    fn rightness(&self, examples: &[Example], outputs: &[Vec<f32>]) -> Result<Vec<f64>, TrainError> {
        let right = |(example, output): (&Example, &Vec<f32>)| {
            f64::from(u8::from(example.target == Target::Class(argmax(output))))
        };
        Ok(examples.iter().zip(outputs).map(right).collect())
    }

    fn metric(&self, metric: Metric, examples: &[Example], scores: &Scores) -> Result<f64, TrainError> {
        let pairs = examples.iter().zip(&scores.outputs).filter_map(|(example, output)| {
            let Target::Class(truth) = example.target else { return None };
            Some((truth, argmax(output)))
        });
        let point = ConfusionMatrix::from_pairs(self.labels.len(), pairs)?.point_metrics();
        Ok(match metric {
            Metric::Accuracy => point.accuracy,
            Metric::F1Macro => point.f1_macro,
            Metric::PrecisionMacro => point.precision_macro,
            Metric::RecallMacro => point.recall_macro,
            // Which metrics a task has is checked with the spec; the loss is one of every task.
            _ => scores.loss,
        })
    }

    fn is_calibrated(&self) -> bool {
        true
    }

    fn evaluate(
        &self,
        predictor: &Predictor,
        rows: &[Row],
    ) -> Result<(Assessment, Vec<Prediction>), TrainError> {
        let answers = predictor.predict_batch(rows)?;
        let scored = rows.iter().zip(&answers).map(|(row, answer)| {
            let probabilities = answer.answer.probabilities().to_vec();
            Ok(Scored { truth: self.index(row)?, probabilities, slices: row.slices.clone() })
        });
        let scored = scored.collect::<Result<Vec<_>, TrainError>>()?;
        Ok((Assessment::Classes(Box::new(evaluate(self.labels.names(), &scored)?)), answers))
    }
}
