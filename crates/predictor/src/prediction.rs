use std::sync::Arc;

use crate::Observation;

/// The answer for one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The predicted label.
    pub label: Arc<str>,
    /// The label's place in the list of labels.
    pub index: usize,
    /// One probability a label; they sum to 1.
    pub probabilities: Vec<f32>,
    /// One logit a label.
    pub logits: Vec<f32>,
    /// The pooled vector of the text, one value a hidden unit; empty when the model does not give it.
    pub embedding: Vec<f32>,
    /// Whether the text was longer than the model takes, so that its end was not read.
    pub truncated: bool,
    /// What drift is measured by.
    pub observation: Observation,
}

/// Probabilities of finite logits, `exp(x_i) / sum exp(x_j)`, summed in double precision and shifted by the largest
/// logit so that nothing overflows.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

/// The place of the largest value, the first one of equals.
pub(crate) fn largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_even_for_huge_logits() {
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(softmax(&[-1e30, 1e30]), [0.0, 1.0]);
        let three = softmax(&[0.0, 1.0, 2.0]);
        let expected = [0.090_030_57, 0.244_728_48, 0.665_240_94];
        assert!(
            three.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-7),
            "{three:?}"
        );
    }

    #[test]
    fn the_first_of_equal_logits_wins() {
        assert_eq!(largest(&[1.0, 3.0, 3.0]), 1);
    }
}
