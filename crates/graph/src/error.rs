use crate::DType;

/// What can be wrong with a graph or with the bytes that it is read from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum GraphError {
    #[error(
        "a tensor of type {dtype} and shape {shape:?} cannot be held in {bytes} bytes: the file is truncated or damaged"
    )]
    TensorSize { dtype: DType, shape: Vec<usize>, bytes: usize },

    #[error("a tensor of shape {shape:?} is larger than this machine can address: the file is damaged")]
    TensorTooLarge { shape: Vec<usize> },

    #[error("these bytes are not an ONNX model, or only a part of one")]
    Decode(#[from] prost::DecodeError),

    #[error("the ONNX model is not usable: {what}")]
    Malformed { what: String },

    #[error(
        "the model takes {bytes} bytes, more than the 2 GiB of one ONNX file: write its weights to an external file"
    )]
    TooLargeForOneFile { bytes: usize },

    #[error("initializer \"{name}\" lies in the external file \"{location}\": {why}")]
    External { name: String, location: String, why: String },

    #[error("the graph is broken after {phase}: {what}")]
    Verify { phase: String, what: String },

    #[error("a patch does not fit its graph: {what}")]
    Patch { what: String },
}
