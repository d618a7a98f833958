//! Temperature scaling (Guo et al. 2017, arXiv:1706.04599): one number that makes stated confidences true.

use serde::{Deserialize, Serialize};

use crate::error::StatsError;

/// Inverse temperatures that are looked at. Beyond them the rows say nothing about confidence: all of them
/// are right, or the logits are noise.
const INVERSE_RANGE: (f64, f64) = (0.05, 20.0);

/// A fitted temperature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// Logits are divided by this before the softmax. Above 1 the model was too sure of itself.
    pub temperature: f64,
    /// Rows that it was fitted on.
    pub rows: u64,
    /// Mean of -ln(probability of the true class) on these rows at temperature 1.
    pub log_loss_before: f64,
    /// The same at `temperature`.
    pub log_loss_after: f64,
}

/// The temperature at which the mean of -ln softmax(logits / temperature)[truth] is least.
///
/// `None` when there is no such temperature between 1/20 and 20, as when every row is answered rightly: any
/// sharpening then lowers the loss. The loss is convex in 1 / temperature, so its derivative, the mean of
/// `sum_j p_j z_j - z_truth`, has one root.
pub fn fit_temperature(logits: &[Vec<f32>], truth: &[usize]) -> Result<Option<Temperature>, StatsError> {
    check(logits, truth)?;
    let slope = |inverse: f64| -> f64 {
        logits.iter().zip(truth).map(|(row, &truth)| expected(row, inverse) - f64::from(row[truth])).sum()
    };
    let (mut low, mut high) = INVERSE_RANGE;
    if slope(low) >= 0.0 || slope(high) <= 0.0 {
        return Ok(None);
    }
    for _ in 0..100 {
        // The range spans decades: halve it on a logarithmic scale.
        let middle = (low * high).sqrt();
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    let inverse = (low * high).sqrt();
    let loss = |inverse: f64| -> f64 {
        let sum: f64 = logits.iter().zip(truth).map(|(row, &truth)| surprise(row, truth, inverse)).sum();
        sum / logits.len() as f64
    };
    Ok(Some(Temperature {
        temperature: 1.0 / inverse,
        rows: logits.len() as u64,
        log_loss_before: loss(1.0),
        log_loss_after: loss(inverse),
    }))
}

fn check(logits: &[Vec<f32>], truth: &[usize]) -> Result<(), StatsError> {
    if logits.is_empty() {
        return Err(StatsError::NoObservations { sample: "the rows to fit a temperature on" });
    }
    if logits.len() != truth.len() {
        return Err(StatsError::LengthsDiffer {
            left: "logits",
            left_len: logits.len(),
            right: "truth",
            right_len: truth.len(),
        });
    }
    for (row, &truth) in logits.iter().zip(truth) {
        if truth >= row.len() {
            return Err(StatsError::UnknownClass { class: truth, classes: row.len() });
        }
        if let Some(&value) = row.iter().find(|value| !value.is_finite()) {
            let value = f64::from(value);
            return Err(StatsError::OutOfRange { name: "logit", value, expected: "finite" });
        }
    }
    Ok(())
}

/// Weights of the softmax at an inverse temperature, shifted by the largest logit, and their sum.
fn weights(row: &[f32], inverse: f64) -> (Vec<f64>, f64, f64) {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weights: Vec<f64> = row.iter().map(|&logit| (inverse * (f64::from(logit) - largest)).exp()).collect();
    let sum = weights.iter().sum();
    (weights, sum, largest)
}

/// The mean logit under the probabilities.
fn expected(row: &[f32], inverse: f64) -> f64 {
    let (weights, sum, _) = weights(row, inverse);
    row.iter().zip(&weights).map(|(&logit, weight)| f64::from(logit) * weight).sum::<f64>() / sum
}

/// -ln(probability of `truth`).
fn surprise(row: &[f32], truth: usize, inverse: f64) -> f64 {
    let (_, sum, largest) = weights(row, inverse);
    sum.ln() - inverse * (f64::from(row[truth]) - largest)
}
