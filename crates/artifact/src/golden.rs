use serde::{Deserialize, Serialize};

use crate::Precision;

/// Examples whose answers are replayed whenever the model is loaded, so that a changed tokenizer, engine or file is
/// noticed before it answers anybody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// The examples.
    pub examples: Vec<GoldenExample>,
}

/// One example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenExample {
    /// The raw text.
    pub text: String,
    /// The second text, where the model reads two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The token ids of the text, special tokens included, without padding.
    pub input_ids: Vec<i64>,
    /// The logits of every form of the model that was measured.
    pub logits: Vec<GoldenLogits>,
}

/// The logits of one form of the model for one example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenLogits {
    /// The precision of the file.
    pub precision: Precision,
    /// The engine that computed them: `onnxruntime` or `tract`.
    pub engine: String,
    /// The model's output, flat: one logit a label, a tag and token, or an end and token; or a vector.
    pub values: Vec<f32>,
}

impl GoldenExample {
    /// The stored logits to compare with when `engine` runs the file of `precision`: those of the same engine if
    /// there are any, else those of another one.
    pub fn logits_for(&self, precision: Precision, engine: &str) -> Option<&GoldenLogits> {
        let of_precision = || self.logits.iter().filter(|logits| logits.precision == precision);
        of_precision().find(|logits| logits.engine == engine).or_else(|| of_precision().next())
    }
}
