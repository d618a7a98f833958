//! What is known of a run, and the folder that remembers it.

use crate::TrainerError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A run, as it is kept and as it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The model that it makes a version of.
    pub model: String,
    /// Where it stands.
    pub status: Status,
    /// Place in the order of submission.
    pub sequence: u64,
    /// Where training starts: `champion` or `pretrained`.
    pub start: String,
    /// Where relative paths of the spec start.
    pub folder: PathBuf,
    /// What was submitted, as a hash: the same id with something else is refused.
    pub submitted: String,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How often it was started.
    pub attempts: u32,
    /// The device that it is, or was, trained on.
    pub device: Option<String>,
    /// Somebody asked for its end.
    pub cancel: bool,
    /// Why it failed, in one sentence.
    pub error: Option<String>,
    /// What `refit train --json` said in the end.
    pub outcome: Option<Value>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for a device.
    Queued,
    /// It is trained.
    Running,
    /// Its artifact is registered.
    Succeeded,
    /// It cannot be done.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl Status {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The name in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The files of a run.
#[derive(Clone, Debug)]
pub struct Files {
    /// The run's folder.
    pub folder: PathBuf,
}

impl Files {
    /// Those of the run `id` among `runs`.
    pub fn of(runs: &Path, id: &str) -> Self {
        Self { folder: runs.join(id) }
    }

    /// What is known of it.
    pub fn record(&self) -> PathBuf {
        self.folder.join("run.json")
    }

    /// What was submitted.
    pub fn spec(&self) -> PathBuf {
        self.folder.join("refit.toml")
    }

    /// Labelled rows that were submitted with it.
    pub fn additional(&self) -> PathBuf {
        self.folder.join("additional.jsonl")
    }

    /// Its events, one JSON object a line.
    pub fn events(&self) -> PathBuf {
        self.folder.join("events.jsonl")
    }

    /// Standard error of its process.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Standard output of its process; locked while that lives.
    pub fn outcome(&self) -> PathBuf {
        self.folder.join("outcome.json")
    }

    /// Writes what is known, so that it is either all there or as before.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn save(&self, run: &Run) -> Result<(), TrainerError> {
        let path = self.record();
        let write = || -> std::io::Result<()> {
            let mut draft = tempfile::NamedTempFile::new_in(&self.folder)?;
            draft.write_all(&serde_json::to_vec_pretty(run)?)?;
            draft.as_file().sync_all()?;
            draft.persist(&path).map_err(|error| error.error)?;
            fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(TrainerError::file(&path))
    }
}

/// The runs that lie in `folder`; what is none is passed over with a warning.
///
/// # Errors
/// When the folder cannot be made or read.
pub fn load_all(folder: &Path) -> Result<Vec<Run>, TrainerError> {
    fs::create_dir_all(folder).map_err(TrainerError::file(folder))?;
    let mut runs = Vec::new();
    for entry in fs::read_dir(folder).map_err(TrainerError::file(folder))?.flatten() {
        let record = entry.path().join("run.json");
        match fs::read(&record)
            .map_err(|error| error.to_string())
            .and_then(|bytes| serde_json::from_slice::<Run>(&bytes).map_err(|error| error.to_string()))
        {
            Ok(run) => runs.push(run),
            Err(error) => {
                tracing::warn!(path = %record.display(), error, "this is no run and is passed over")
            }
        }
    }
    Ok(runs)
}

/// What was submitted, as a hash.
pub fn fingerprint(spec: &str, start: &str, folder: &Path, additional: Option<&str>) -> String {
    let mut hash = Sha256::new();
    for part in [spec, start, &folder.to_string_lossy(), additional.unwrap_or_default()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether an id can be the name of a folder.
pub fn is_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && id.len() <= 100 && !id.starts_with('.') && id.chars().all(plain)
}
