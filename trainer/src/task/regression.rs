//! A number for a text, or for a pair of texts. What is learned is (number - mean) / deviation of the training rows.

use super::loss::{AddLoss, LabelShape};
use super::{Head, Task, encode, mean, slices, text_head};
use crate::TrainError;
use crate::data::{self, Row};
use crate::evaluation::{Assessment, Judged};
use crate::examples::{Example, Scores, Target, Tokens};
use refit_artifact::TargetScale;
use refit_graph::DType;
use refit_passes::Edit;
use refit_predictor::{Answer, Prediction, Predictor};
use refit_preprocess::TextPreprocessor;
use refit_spec::{Metric, Task as Kind};
use refit_stats::{mean_absolute_error, pearson, r2, root_mean_squared_error, spearman};

/// Regression by squared error or Huber's loss.
pub struct Regression {
    scale: TargetScale,
    huber_delta: Option<f64>,
}

const NAMES: [&str; 5] = ["r2", "pearson", "spearman", "mae", "rmse"];

impl Regression {
    /// Scaled so; without a scale, outputs are the numbers themselves.
    pub fn new(scale: Option<TargetScale>, huber_delta: Option<f64>) -> Self {
        Self { scale: scale.unwrap_or(TargetScale { mean: 0.0, deviation: 1.0 }), huber_delta }
    }
}

/// Mean and deviation of the numbers of rows, in one pass (Welford 1962).
///
/// # Errors
/// When the rows cannot be read, or all have the same number.
pub fn scale(rows: &data::Rows) -> Result<TargetScale, TrainError> {
    let (mut count, mut center, mut squares) = (0.0, 0.0, 0.0);
    for row in rows.iter() {
        let number = number(&row?)?;
        count += 1.0;
        let before = number - center;
        center += before / count;
        squares += before * (number - center);
    }
    let deviation = (squares / count).sqrt();
    if deviation > 0.0 {
        Ok(TargetScale { mean: center, deviation })
    } else {
        Err(TrainError::OneNumber { number: center, rows: rows.len() })
    }
}

fn number(row: &Row) -> Result<f64, TrainError> {
    row.label
        .parse()
        .map_err(|_| TrainError::NoNumber { origin: row.origin.clone(), label: row.label.clone() })
}

fn figures(truth: &[f64], predicted: &[f64]) -> Vec<f64> {
    vec![
        r2(truth, predicted),
        pearson(truth, predicted),
        spearman(truth, predicted),
        mean_absolute_error(truth, predicted),
        root_mean_squared_error(truth, predicted),
    ]
}

/// True and predicted numbers of examples.
fn numbers(examples: &[Example], outputs: &[Vec<f32>], scale: TargetScale) -> (Vec<f64>, Vec<f64>) {
    let of = |(example, output): (&Example, &Vec<f32>)| {
        let Target::Values(values) = &example.target else { return None };
        Some((scale.number(*values.first()?), scale.number(*output.first()?)))
    };
    examples.iter().zip(outputs).filter_map(of).unzip()
}

impl Task for Regression {
    fn outputs(&self) -> usize {
        1
    }

    fn head(&self, head: Head) -> Box<dyn Edit> {
        text_head(head)
    }

    fn loss(&self) -> Box<dyn Edit> {
        Box::new(AddLoss {
            operator: "HuberLoss",
            attribute: self.huber_delta.map(|delta| ("delta", delta as f32)),
            labels: DType::F32,
            shape: LabelShape::Values,
        })
    }

    fn examples(&self, rows: &[Row], preprocessor: &TextPreprocessor) -> Result<Vec<Example>, TrainError> {
        let example = |(encoding, row)| {
            let target = Target::Values(vec![self.scale.output(number(row)?)]);
            Ok(Example { texts: vec![Tokens::new(encoding)], target })
        };
        encode(rows, preprocessor)?.into_iter().zip(rows).map(example).collect()
    }

    /// 1 - squared error / variance: its mean is R2.
    fn rightness(&self, examples: &[Example], outputs: &[Vec<f32>]) -> Result<Vec<f64>, TrainError> {
        let (truth, predicted) = numbers(examples, outputs, self.scale);
        let center = mean(truth.iter().copied());
        let variance = mean(truth.iter().map(|truth| (truth - center).powi(2)));
        Ok(truth.iter().zip(&predicted).map(|(t, p)| 1.0 - (t - p).powi(2) / variance).collect())
    }

    fn metric(&self, metric: Metric, examples: &[Example], scores: &Scores) -> Result<f64, TrainError> {
        let (truth, predicted) = numbers(examples, &scores.outputs, self.scale);
        let place = NAMES.iter().position(|name| *name == metric.to_string());
        // A model that answers one number to everything has no correlation.
        let value = place.map_or(scores.loss, |place| figures(&truth, &predicted)[place]);
        Ok(if value.is_nan() { 0.0 } else { value })
    }

    fn scale(&self) -> Option<TargetScale> {
        Some(self.scale)
    }

    fn evaluate(
        &self,
        predictor: &Predictor,
        rows: &[Row],
    ) -> Result<(Assessment, Vec<Prediction>), TrainError> {
        let answers = predictor.predict_batch(rows)?;
        let truth: Vec<f64> = rows.iter().map(number).collect::<Result<_, _>>()?;
        let predicted: Vec<f64> = answers
            .iter()
            .map(|answer| if let Answer::Number(number) = answer.answer { number } else { f64::NAN })
            .collect();
        let pick =
            |values: &[f64], chosen: &[usize]| chosen.iter().map(|&row| values[row]).collect::<Vec<_>>();
        let center = mean(truth.iter().copied());
        let constant = figures(&truth, &vec![center; truth.len()]);
        let evaluation = Judged {
            task: Kind::Regression.to_string(),
            slices: slices(rows),
            names: &NAMES,
            figures: &|chosen| figures(&pick(&truth, chosen), &pick(&predicted, chosen)),
            baseline: (
                format!("always the mean of the rows, {center:.4}"),
                constant.into_iter().map(|value| Some(value).filter(|value| !value.is_nan())).collect(),
            ),
            labels: Vec::new(),
            by_label: &|_| Vec::new(),
            less_is_better: false,
        };
        Ok((Assessment::Figures(evaluation.evaluate(Vec::new())?), answers))
    }
}
