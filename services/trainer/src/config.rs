use std::net::SocketAddr;
use std::path::PathBuf;

/// What the service runs on.
#[derive(Clone, Debug)]
pub struct TrainerConfig {
    /// Store and artifacts; the service keeps its runs in `trainer/` there.
    pub home: PathBuf,
    /// refit's cache, handed to the runs.
    pub cache: PathBuf,
    /// The `refit` binary that trains.
    pub binary: PathBuf,
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// What callers have to show; nobody but this machine is served without one.
    pub token: Option<String>,
    /// One run at a time on each: `cpu`, or `cuda:0`, `cuda:1`, ...
    pub devices: Vec<String>,
    /// Runs that may wait; more are refused.
    pub max_queued: usize,
    /// Times that a run which ended without a word is started again.
    pub max_attempts: u32,
}

impl TrainerConfig {
    /// The folder of all runs.
    pub fn runs(&self) -> PathBuf {
        self.home.join("trainer").join("runs")
    }
}
