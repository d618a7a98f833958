use refit_graph::GraphError;
use refit_passes::PassError;
use std::path::PathBuf;

/// Why a pretrained model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum FamilyError {
    #[error("{path} cannot be read: check the path and its permissions", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },

    #[error("{path} is neither a Hugging Face folder nor an .onnx file", path = path.display())]
    UnknownFormat { path: PathBuf },

    #[error("{path} is not valid JSON: fetch the model again", path = path.display())]
    Json { path: PathBuf, source: serde_json::Error },

    #[error("{path} lacks {keys}: it is not the configuration of this kind of model", path = path.display())]
    MissingKeys { path: PathBuf, keys: String },

    #[error("{path}: \"{key}\" is {value}, but must be {expected}", path = path.display())]
    BadValue { path: PathBuf, key: String, value: String, expected: String },

    #[error("{path}: the model_type \"{family}\" is not supported; supported: {supported}", path = path.display())]
    UnknownFamily { path: PathBuf, family: String, supported: String },

    #[error(
        "{path} is truncated or damaged: {why}; fetch the model again",
        path = path.display()
    )]
    Damaged { path: PathBuf, why: String },

    #[error(
        "{path} is refused: {what}. Nothing in it was executed; where you trust it, save its state_dict alone, or as safetensors",
        path = path.display()
    )]
    Unsafe { path: PathBuf, what: String },

    #[error("{path} does not hold the weights that config.json describes: {what}", path = path.display())]
    Tensors { path: PathBuf, what: String },

    #[error("{path} cannot be used as a text encoder: {what}", path = path.display())]
    NotAnEncoder { path: PathBuf, what: String },

    #[error("{path} uses operators that are not supported: {places}", path = path.display())]
    Unsupported { path: PathBuf, places: String },

    #[error("{path} cannot be read as an ONNX model", path = path.display())]
    Onnx { path: PathBuf, source: GraphError },

    #[error("{path} cannot be brought into canonical form", path = path.display())]
    Canonicalize { path: PathBuf, source: Box<PassError> },

    #[error("the exported model cannot be brought into canonical form")]
    Exported { source: Box<PassError> },

    #[error("the graph of the encoder cannot be built")]
    Graph(#[from] GraphError),

    #[error("the adapter of {path} cannot be used: {what}", path = path.display())]
    Adapter { path: PathBuf, what: String },

    #[error("the weights of the two models do not fit together: {what}")]
    Transfer { what: String },
}
