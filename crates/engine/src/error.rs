use std::path::PathBuf;

/// What can go wrong in an inference engine. Messages of the engine itself are kept as text: every engine has its
/// own error type, and all that a caller can do is to show it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine's library cannot be used.
    #[error("{engine} is not available: {reason}")]
    Unavailable {
        /// The engine's name.
        engine: &'static str,
        /// Why, and what to do about it.
        reason: String,
    },
    /// The engine does not take the model.
    #[error("{engine} cannot load the model{}: {reason}", place(.path))]
    Load {
        /// The engine's name.
        engine: &'static str,
        /// The model's file, if it came from one.
        path: Option<PathBuf>,
        /// What the engine said.
        reason: String,
    },
    /// A run failed.
    #[error("{engine} failed while running the model: {reason}")]
    Run {
        /// The engine's name.
        engine: &'static str,
        /// What the engine said.
        reason: String,
    },
    /// The caller gave other inputs than the model has.
    #[error("the model's inputs are [{expected}], but [{given}] were given")]
    Inputs {
        /// The names that the model has.
        expected: String,
        /// The names that were given.
        given: String,
    },
    /// An input has another type or shape than the model declares.
    #[error("input {name:?} must be {expected}, but is {given}")]
    InputType {
        /// The input's name.
        name: String,
        /// Type and shape that the model declares.
        expected: String,
        /// Type and shape that were given.
        given: String,
    },
    /// The model yields something that [`crate::Tensor`] cannot carry.
    #[error("output {name:?} has the element type {dtype}, which refit does not read")]
    OutputType {
        /// The output's name.
        name: String,
        /// The engine's word for the type.
        dtype: String,
    },
    /// Shape and number of elements disagree.
    #[error("a tensor of shape {shape:?} cannot have {elements} elements")]
    TensorShape {
        /// The shape.
        shape: Vec<usize>,
        /// The number of elements that were given.
        elements: usize,
    },
}

fn place(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default()
}
