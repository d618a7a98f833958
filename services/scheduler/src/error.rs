use std::{net::SocketAddr, path::PathBuf};

/// What can go wrong in the scheduler.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// Another scheduler works on this home.
    #[error("another scheduler already runs on {}: stop it, or use another --home", .home.display())]
    AlreadyRunning {
        /// The home.
        home: PathBuf,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: is the port in use? Set [refit] address to a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] refit_store::StoreError),
    /// A file of the home cannot be read or written.
    #[error("cannot {operation} {}: check the folder's permissions and free space", .path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The `refit` binary cannot be started.
    #[error("cannot start {}: check that the file exists and may be executed", .binary.display())]
    Spawn {
        /// The binary.
        binary: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// An artifact's manifest cannot be understood.
    #[error("{} is not a manifest of an artifact: train that version again", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A run folder holds something else than this scheduler writes.
    #[error("{} cannot be understood: delete the run folder and let the loop start a new run", .path.display())]
    RunFolder {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// The settings of a statistical test cannot be used.
    #[error("the live error rate cannot be judged")]
    Judge(#[from] refit_stats::StatsError),
    /// Metrics cannot be registered.
    #[error("the scheduler's metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The control API's server failed.
    #[error("the control API stopped")]
    Serve(#[source] std::io::Error),
}

impl SchedulerError {
    /// Maps an input/output error of a file.
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }

    /// Whether looking again may help: somebody else changed the state in between.
    pub(crate) fn is_stale(&self) -> bool {
        use refit_store::StoreError::{StaleDeployment, StaleLoopState};
        matches!(self, Self::Store(StaleDeployment { .. } | StaleLoopState { .. }))
    }
}
