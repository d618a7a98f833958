use refit_graph::GraphError;
use refit_ops::OpError;

/// Why a pass could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum PassError {
    /// Added by the driver around whatever went wrong inside a pass.
    #[error("the pass {pass} failed")]
    Pass { pass: String, source: Box<PassError> },

    #[error("the graph does not allow it")]
    Graph(#[from] GraphError),

    #[error("an operator does not allow it")]
    Operator(#[from] OpError),

    /// The pass understands the model but cannot do what was asked; `what` says what to do next.
    #[error("{what}")]
    Refused { what: String },

    #[error("the simplifying passes still change the model after {rounds} rounds, the last one {pass}")]
    NoFixpoint { rounds: usize, pass: String },

    #[error(
        "{place} has no equivalent among the operators of the standard: keep it out of the exported graph"
    )]
    NotPortable { place: String },
}

impl PassError {
    /// A refusal with its sentence.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::Refused { what: what.into() }
    }

    /// The same error, with the pass in which it happened.
    pub(crate) fn in_pass(self, pass: &str) -> Self {
        Self::Pass { pass: pass.to_owned(), source: Box::new(self) }
    }
}
