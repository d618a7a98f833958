use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum TrainerError {
    #[error(
        "{address} is not an address of this machine alone, and no token is set: give one in REFIT_TRAINER_TOKEN, or listen at 127.0.0.1"
    )]
    Open { address: SocketAddr },

    #[error("the trainer cannot listen at {address}: stop what does, or give another --address")]
    Bind { address: SocketAddr, source: std::io::Error },

    #[error("another trainer works in {}: one is enough for a home", home.display())]
    AlreadyRunning { home: PathBuf },

    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: std::io::Error },

    #[error("the device {name:?} is none: name \"cpu\" or \"cuda:0\"")]
    Device { name: String },

    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),

    #[error("serving failed")]
    Serve(#[source] std::io::Error),
}

impl TrainerError {
    /// Wraps what went wrong with a file.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
