use std::sync::Arc;

use refit_artifact::{Reference, features};

/// The values of every watched feature for one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Characters in the raw text.
    pub text_length: usize,
    /// Tokens after truncation, special tokens included.
    pub token_count: usize,
    /// The part of the tokens that the tokenizer does not know, 0 to 1.
    pub unknown_token_rate: f64,
    /// The predicted label, where there is one.
    pub predicted_class: Option<Arc<str>>,
    /// How sure the model is, 0 to 1, where it says so.
    pub confidence: Option<f64>,
    /// The number that was answered, where it is one.
    pub number: Option<f64>,
    /// The embedding's coordinate along each of the reference's projections, in their order.
    pub projections: Vec<f64>,
}

/// The value of a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeatureValue<'a> {
    /// A number.
    Number(f64),
    /// A category.
    Category(&'a str),
}

impl Observation {
    /// The value of the feature of this name, as the reference's distributions name them. `None` for a feature that
    /// is not observed here.
    pub fn value(&self, reference: &Reference, feature: &str) -> Option<FeatureValue<'_>> {
        match feature {
            features::TEXT_LENGTH => Some(FeatureValue::Number(self.text_length as f64)),
            features::TOKEN_COUNT => Some(FeatureValue::Number(self.token_count as f64)),
            features::UNKNOWN_TOKEN_RATE => Some(FeatureValue::Number(self.unknown_token_rate)),
            features::PREDICTED_CLASS => self.predicted_class.as_deref().map(FeatureValue::Category),
            features::CONFIDENCE => self.confidence.map(FeatureValue::Number),
            features::PREDICTED_NUMBER => self.number.map(FeatureValue::Number),
            _ => {
                let place =
                    reference.projections.iter().position(|projection| projection.feature == feature)?;
                self.projections.get(place).map(|&value| FeatureValue::Number(value))
            }
        }
    }

    /// The bin of each of the reference's distributions, in their order; `None` for a value that falls in none.
    pub fn bins(&self, reference: &Reference) -> Vec<Option<usize>> {
        reference
            .distributions
            .iter()
            .map(|distribution| match self.value(reference, &distribution.feature)? {
                FeatureValue::Number(value) => distribution.bin(value),
                FeatureValue::Category(name) => distribution.bin_category(name),
            })
            .collect()
    }
}
