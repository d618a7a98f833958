use std::path::{Path, PathBuf};

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("the store {} cannot be opened: check that its folder exists and can be written", .path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The file is not a database, or is damaged.
    #[error(
        "the store {} is damaged or not a refit store: move it away and restore it from a backup, or start a new one",
        .path.display()
    )]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The file was written by a newer refit.
    #[error(
        "the store {} has schema {found}, but this refit knows schemas up to {supported}: use a newer refit",
        .path.display()
    )]
    NewerSchema {
        /// The store's file.
        path: PathBuf,
        /// The schema's version in the file.
        found: i64,
        /// The newest version known here.
        supported: i64,
    },
    /// No room is left for what was to be written.
    #[error(
        "the store {} is full while trying to {operation}: free space on its disk; nothing of it was written",
        .path.display()
    )]
    Full {
        /// The store's file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
    },
    /// Another process held the write lock for longer than the busy timeout.
    #[error("the store {} is locked by another process: could not {operation}; try again", .path.display())]
    Busy {
        /// The store's file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
    },
    /// Any other failure of the database.
    #[error("the store {} could not {operation}", .path.display())]
    Query {
        /// The store's file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// A stored value does not read back as what it must be.
    #[error("the store holds an unreadable {column}: {value:?}")]
    Value {
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
    /// A value cannot be written as JSON.
    #[error("{what} cannot be written as JSON")]
    Json {
        /// What was to be written.
        what: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// The model has no such version.
    #[error("model {model:?} has no version {version:?}: `refit models` lists those it has")]
    UnknownVersion {
        /// The model.
        model: String,
        /// The version.
        version: String,
    },
    /// The version exists already, with another artifact.
    #[error("version {version:?} of model {model:?} is already registered with another artifact")]
    VersionTaken {
        /// The model.
        model: String,
        /// The version.
        version: String,
    },
    /// Somebody else changed the deployment in the meantime.
    #[error(
        "the deployment of model {model:?} is at generation {actual}, not {expected}: somebody changed it; read it again"
    )]
    StaleDeployment {
        /// The model.
        model: String,
        /// The generation that the caller had read.
        expected: i64,
        /// The generation in the store.
        actual: i64,
    },
    /// The share of a canary or a shadow is not between 0 and 100.
    #[error("a share of the requests is between 0 and 100 percent, not {percent}")]
    CanaryPercent {
        /// What was asked for.
        percent: f64,
    },
    /// Nothing was ever deployed, or there is no version to go back to.
    #[error("model {model:?} has no previous version to roll back to")]
    NoPrevious {
        /// The model.
        model: String,
    },
    /// Somebody else changed the loop's state in the meantime.
    #[error(
        "the loop of model {model:?} is at revision {actual}, not {expected}: is a second scheduler running?"
    )]
    StaleLoopState {
        /// The model.
        model: String,
        /// The revision that the caller had read.
        expected: i64,
        /// The revision in the store.
        actual: i64,
    },
    /// No prediction has this id.
    #[error(
        "no prediction has the id {id:?}: it was never made, is not recorded yet, or was forgotten by retention"
    )]
    UnknownPrediction {
        /// The id.
        id: String,
    },
    /// The prediction has its true label already.
    #[error("prediction {id:?} has its label already")]
    AlreadyGiven {
        /// The prediction's id.
        id: String,
    },
    /// No run has this id.
    #[error("no run has the id {id:?}")]
    UnknownRun {
        /// The id.
        id: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed when it is simply made again later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Full { .. })
    }

    /// Sorts a failure of the database by what the reader can do about it.
    pub(crate) fn from_sqlx(path: &Path, operation: &'static str, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match primary_code(&source) {
            Some(SQLITE_FULL) => Self::Full { path, operation },
            Some(SQLITE_BUSY | SQLITE_LOCKED) => Self::Busy { path, operation },
            Some(SQLITE_CORRUPT | SQLITE_NOTADB) => Self::Damaged { path, source },
            Some(SQLITE_CANTOPEN | SQLITE_READONLY | SQLITE_PERM) => Self::Open { path, source },
            _ if matches!(source, sqlx::Error::PoolTimedOut) => Self::Busy { path, operation },
            _ => Self::Query { path, operation, source },
        }
    }
}

const SQLITE_PERM: i32 = 3;
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_READONLY: i32 = 8;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_NOTADB: i32 = 26;

/// The low byte of SQLite's extended result code.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
