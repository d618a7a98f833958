use refit_graph::Model;
use std::path::PathBuf;

/// A pretrained encoder, ready for a head.
#[derive(Debug, Clone)]
pub struct Base {
    /// The encoder in canonical form. Inputs (i64 `[batch, sequence]`): `input_ids`, `attention_mask` and,
    /// where the model has it, `token_type_ids`. Output: [`crate::HIDDEN_STATE`]. Its parameters are marked
    /// as trainable.
    pub model: Model,
    /// The `tokenizer.json` that belongs to it, if it lies beside it.
    pub tokenizer: Option<PathBuf>,
    /// Length of a hidden vector.
    pub hidden_size: usize,
    /// Number of encoder layers.
    pub num_layers: usize,
    /// How the model's authors made one vector of a text.
    pub pooling: Pooling,
    /// Most tokens that a text may have, special tokens included.
    pub max_length: usize,
    /// `model_type` of its configuration, or `onnx` for a file made elsewhere.
    pub family: String,
    /// Keys of `config.json` that this family does not know and did not read.
    pub ignored_settings: Vec<String>,
    /// Tensors of the checkpoint that the encoder does not need: buffers, and the heads of other tasks.
    pub ignored_weights: Vec<String>,
    /// What `transformers` puts before the encoder's names in a model with a head: `bert.`.
    pub module_prefix: String,
    /// What the file calls the value that the head reads.
    pub cut: String,
}

/// How the hidden vectors of a text become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The vector of the first token.
    Cls,
    /// The mean over the tokens that are no padding.
    Mean,
    /// The largest value of each element over the tokens that are no padding.
    Max,
    /// The base gives one vector already.
    None,
}
