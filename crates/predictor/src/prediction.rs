use crate::{Answer, Observation};

/// The answer for one text, with what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The answer.
    pub answer: Answer,
    /// The model's output, flat; that of the first window where there are several.
    pub logits: Vec<f32>,
    /// The pooled vector of the text, one value a hidden unit; empty when the model does not give it.
    pub embedding: Vec<f32>,
    /// Whether the text was longer than the model takes, so that its end was not read.
    pub truncated: bool,
    /// What drift is measured by.
    pub observation: Observation,
}

impl Prediction {
    /// The same answer with probabilities at another temperature, above 0, and the confidence that follows.
    #[must_use]
    pub fn at_temperature(mut self, temperature: f64) -> Self {
        if let Answer::Class { probabilities, .. } = &mut self.answer {
            *probabilities = softmax(&self.logits, temperature);
            self.observation.confidence = self.answer.confidence();
        }
        self
    }
}

/// Probabilities of finite logits at a temperature above 0, `exp(x_i / t) / sum exp(x_j / t)`, summed in double precision and shifted by the largest
/// logit so that nothing overflows.
pub(crate) fn softmax(logits: &[f32], temperature: f64) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> =
        logits.iter().map(|&logit| (f64::from(logit - largest) / temperature).exp()).collect();
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
        assert_eq!(softmax(&[1000.0, 1000.0], 1.0), [0.5, 0.5]);
        assert_eq!(softmax(&[-1e30, 1e30], 1.0), [0.0, 1.0]);
        let three = softmax(&[0.0, 1.0, 2.0], 1.0);
        let expected = [0.090_030_57, 0.244_728_48, 0.665_240_94];
        assert!(
            three.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-7),
            "{three:?}"
        );
    }

    #[test]
    fn a_temperature_changes_confidence_and_not_order() {
        assert_eq!(softmax(&[0.0, 2.0, 4.0], 2.0), softmax(&[0.0, 1.0, 2.0], 1.0));
        let (cool, warm) = (softmax(&[0.5, 1.5], 0.5), softmax(&[0.5, 1.5], 4.0));
        assert!(cool[1] > warm[1] && warm[1] > 0.5, "{cool:?} {warm:?}");
    }

    #[test]
    fn the_first_of_equal_logits_wins() {
        assert_eq!(largest(&[1.0, 3.0, 3.0]), 1);
    }
}
