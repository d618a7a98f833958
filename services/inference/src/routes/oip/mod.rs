//! The Open Inference Protocol, version 2, over REST, with its binary tensor data extension (the wire format that
//! Triton documents and its clients use by default). Raw text is a BYTES tensor.

pub(crate) mod infer;
pub(crate) mod metadata;
mod request;
mod response;

/// The tensors of a text classifier.
mod tensors {
    /// Raw text, one element a text.
    pub const TEXT: &str = "text";
    /// The predicted label.
    pub const LABEL: &str = "label";
    /// One probability a label.
    pub const PROBABILITIES: &str = "probabilities";
    /// What feedback is given by.
    pub const PREDICTION_ID: &str = "prediction_id";
    /// The version that answered.
    pub const MODEL_VERSION: &str = "model_version";

    /// All outputs with their data types.
    pub const OUTPUTS: [(&str, &str); 4] =
        [(LABEL, "BYTES"), (PROBABILITIES, "FP32"), (PREDICTION_ID, "BYTES"), (MODEL_VERSION, "BYTES")];
}
