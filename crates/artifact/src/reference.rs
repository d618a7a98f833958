use refit_stats::ReferenceDistribution;
use serde::{Deserialize, Serialize};

/// What inputs and answers looked like on the held-out rows at training time; drift is measured against it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// One distribution a feature.
    pub distributions: Vec<ReferenceDistribution>,
    /// The directions onto which embeddings are projected; each is a feature of its own.
    pub projections: Vec<Projection>,
}

/// A direction in the space of embeddings: the feature's value is [`refit_stats::project`] of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    /// The feature's name, such as `embedding_0`.
    pub feature: String,
    /// The unit vector, as long as an embedding.
    pub direction: Vec<f32>,
}

/// Names of the features that every text classifier is watched by. Projections carry their own names.
pub mod features {
    /// Characters in the raw text.
    pub const TEXT_LENGTH: &str = "text_length";
    /// Tokens after truncation, special tokens included.
    pub const TOKEN_COUNT: &str = "token_count";
    /// The part of the tokens that the tokenizer does not know, 0 to 1.
    pub const UNKNOWN_TOKEN_RATE: &str = "unknown_token_rate";
    /// The predicted label.
    pub const PREDICTED_CLASS: &str = "predicted_class";
    /// The number that is answered.
    pub const PREDICTED_NUMBER: &str = "predicted_number";
    /// The probability of the answer, 0 to 1.
    pub const CONFIDENCE: &str = "confidence";
}
