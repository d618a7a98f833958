//! Finished parts of a long run on disk: each a JSON file that is there as a whole or not at all.

use crate::TrainError;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of one run. What it is about is part of its name: another spec, other rows or another refit start
/// a folder of their own.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    /// Held while the run goes on: two runs in one folder would do the same work twice.
    _lock: File,
}

impl Kept {
    /// Opens or makes the folder below `parent` for a run that `identity` fixes.
    ///
    /// # Errors
    /// When the folder cannot be written, or another run is at work in it.
    pub fn open(parent: &Path, identity: &[&str]) -> Result<Self, TrainError> {
        let mut hasher = Sha256::new();
        for part in identity.iter().chain(&[env!("CARGO_PKG_VERSION")]) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let folder = parent.join(&hex::encode(hasher.finalize())[..16]);
        let failed = |source| TrainError::Keep { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(TrainError::AtWork { path: folder }),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A part that was finished before; a file that cannot be read counts as none.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.folder.join(name)).ok()?).ok()
    }

    /// Keeps a part and gives it as a later run will read it: the last bit of a number may differ from what was
    /// computed, and a run that was killed has to end as one that was not.
    ///
    /// # Errors
    /// When the disk is full: nothing of the part is left then.
    pub fn write<T: Serialize + DeserializeOwned>(&self, name: &str, part: &T) -> Result<T, TrainError> {
        let path = self.folder.join(name);
        let failed =
            |source: serde_json::Error| TrainError::Keep { path: path.clone(), source: source.into() };
        let content = serde_json::to_vec_pretty(part).map_err(failed)?;
        write_whole(&path, &content)?;
        serde_json::from_slice(&content).map_err(failed)
    }
}

/// Writes a file that is there as a whole or not at all, whatever happens meanwhile.
///
/// # Errors
/// When the disk is full or the folder cannot be written.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), TrainError> {
    let failed = |source| TrainError::Keep { path: path.to_owned(), source };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_again_and_torn_ones_are_not() {
        let parent = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(parent.path(), &["spec", "rows"]).expect("opens");
        kept.write("fold-1.json", &vec![1, 2, 3]).expect("written");
        fs::write(kept.folder().join("fold-2.json"), b"[1, 2").expect("written");
        assert!(matches!(Kept::open(parent.path(), &["spec", "rows"]), Err(TrainError::AtWork { .. })));
        drop(kept);
        let again = Kept::open(parent.path(), &["spec", "rows"]).expect("opens");
        assert_eq!(again.read::<Vec<u8>>("fold-1.json"), Some(vec![1, 2, 3]));
        assert_eq!(again.read::<Vec<u8>>("fold-2.json"), None);
        let other = Kept::open(parent.path(), &["spec", "other rows"]).expect("opens");
        assert_eq!(other.read::<Vec<u8>>("fold-1.json"), None);
        assert_ne!(other.folder(), again.folder());
    }
}
