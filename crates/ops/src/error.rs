use refit_graph::OpName;

/// Why an operator cannot be found, inferred or computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum OpError {
    #[error(
        "operator {op} of operator set {opset} is not supported: export the model with another opset or \
         remove the operator"
    )]
    Unsupported { op: OpName, opset: i64 },

    #[error("{op} needs its input {index}, which is absent")]
    MissingInput { op: OpName, index: usize },

    #[error("attribute \"{name}\" of {op} is not usable: {why}")]
    Attribute { op: OpName, name: &'static str, why: String },

    #[error("{op} cannot take these inputs: {why}")]
    Inputs { op: OpName, why: String },

    #[error("{op} has no reverse rule for these inputs: {why}")]
    NotDifferentiable { op: OpName, why: String },

    #[error("elements of type {0} cannot be computed with: cast them before the model")]
    Dtype(refit_graph::DType),

    #[error("a tensor operation failed")]
    Tensor(#[from] candle_core::Error),

    #[error("a constant is not usable")]
    Constant(#[from] refit_graph::GraphError),

    #[error("at {place}")]
    At {
        place: String,
        #[source]
        source: Box<OpError>,
    },
}

impl OpError {
    /// The same error with the place in the graph where it happened.
    pub fn at(self, place: impl Into<String>) -> Self {
        match self {
            placed @ Self::At { .. } => placed,
            source => Self::At { place: place.into(), source: Box::new(source) },
        }
    }
}
