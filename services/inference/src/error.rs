use std::{io, net::SocketAddr, path::PathBuf};

use refit_artifact::ArtifactError;
use refit_predictor::PredictorError;
use refit_store::StoreError;

use crate::{access::TokenFileError, tls::TlsError};

/// Why the service cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process listens there.
    #[error("{address} is in use by another process: stop that one, or set `serve.address` to another port")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: set `serve.address` to an address of this machine")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The server stopped.
    #[error("the HTTP server stopped")]
    Http(#[source] io::Error),
    /// A GPU was asked for.
    #[error("`serve.device` is \"cuda\", and no GPU can be used: {reason}")]
    Device {
        /// What is missing, and what to do.
        reason: String,
    },
    /// The system gives no more threads.
    #[error("cannot start a thread: raise the limit of threads, or lower `serve.sessions`")]
    Thread(#[source] io::Error),
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// A model cannot be served.
    #[error("the model cannot be served")]
    Load(#[from] LoadError),
    /// The file of tokens cannot be used.
    #[error("the file of tokens {} cannot be used", .path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenFileError,
    },
    /// The certificate cannot be used.
    #[error("TLS cannot be offered")]
    Tls(#[from] TlsError),
    /// Spans cannot be sent there.
    #[error("spans cannot be exported: check `serve.telemetry.endpoint`")]
    Telemetry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The folder for what waits for the store cannot be used.
    #[error("{} cannot be used for predictions that wait for the store", .path.display())]
    Spool {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two metrics have the same name.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Why a version of a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The artifact is damaged, incomplete or not there.
    #[error("its artifact cannot be opened")]
    Artifact(#[from] ArtifactError),
    /// The artifact is of another model.
    #[error("{} is an artifact of model {found:?}, not of {expected:?}: register it under its own name", .path.display())]
    OtherModel {
        /// The artifact.
        path: PathBuf,
        /// The model that was to be served.
        expected: String,
        /// The model in the manifest.
        found: String,
    },
    /// The version is in the store, but training never finished.
    #[error("version {version} has no artifact yet")]
    NoArtifact {
        /// The version.
        version: String,
    },
    /// The engine, the tokenizer or the golden examples refuse.
    #[error("it does not answer as it should")]
    Predictor(#[source] PredictorError),
    /// The store does not know the version.
    #[error("the store does not give its artifact")]
    Store(#[from] StoreError),
    /// No version of it is deployed, or there is no such model.
    #[error("no version of a model {model:?} is deployed")]
    NotDeployed {
        /// The name that was asked for.
        model: String,
    },
    /// It does not fit beside those that stay.
    #[error(
        "it needs {needed} bytes, and the models that stay leave no room: raise serve.memory_budget (now {budget}), or unload others"
    )]
    NoRoom {
        /// Bytes of its weights.
        needed: u64,
        /// Bytes that all models may hold.
        budget: u64,
    },
    /// It failed a moment ago.
    #[error("it could not be loaded and is tried again later: {reason}")]
    Again {
        /// Why it failed.
        reason: String,
    },
    /// Loading it panicked.
    #[error("loading it failed: {0}")]
    Panicked(String),
}

/// Files are checked when they are read, some of them by the predictor.
impl From<PredictorError> for LoadError {
    fn from(error: PredictorError) -> Self {
        match error {
            PredictorError::Artifact(error) => Self::Artifact(error),
            other => Self::Predictor(other),
        }
    }
}

/// The error and all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}
