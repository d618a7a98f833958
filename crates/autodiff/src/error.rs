use refit_ops::OpError;

/// Why a graph cannot be run forwards or backwards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum AutodiffError {
    #[error("the model uses operators that are not supported:\n{}", .places.join("\n"))]
    Unsupported { places: Vec<String> },

    #[error(
        "the model cannot be trained, because these operators have no reverse rule:\n{}\nfreeze the \
         parameters before them or remove them", .places.join("\n")
    )]
    NotDifferentiable { places: Vec<String> },

    #[error("the graph has no value named \"{name}\"; its outputs are: {}", .outputs.join(", "))]
    UnknownOutput { name: String, outputs: Vec<String> },

    #[error("the input \"{name}\" was not given")]
    MissingInput { name: String },

    #[error("the graph has no input named \"{name}\"; its inputs are: {}", .inputs.join(", "))]
    UnknownInput { name: String, inputs: Vec<String> },

    #[error("the value \"{name}\" was not kept: ask for it when the program is compiled")]
    NotKept { name: String },

    #[error("the gradient of \"{name}\" has shape {gradient:?}, the value {value:?}")]
    GradientShape { name: String, gradient: Vec<usize>, value: Vec<usize> },

    #[error("no trainable parameter has this id: {id:?}")]
    UnknownParameter { id: refit_graph::ValueId },

    #[error("a parameter of shape {expected:?} cannot become one of shape {given:?}, or of another type")]
    ParameterValue { expected: Vec<usize>, given: Vec<usize> },

    #[error("backward was called on activations of an evaluation: run forward in training mode")]
    NotTraining,

    #[error(
        "the trainable parameter \"{name}\" is {dtype}; only float32 can be trained: cast it in the graph"
    )]
    ParameterType { name: String, dtype: refit_graph::DType },

    #[error("computing failed")]
    Operator(#[from] OpError),

    #[error("a tensor operation failed")]
    Tensor(#[from] candle_core::Error),

    #[error("the trained parameters do not fit the model")]
    WriteBack(#[from] refit_graph::GraphError),
}
