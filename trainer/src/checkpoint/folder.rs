//! The folder of a run's checkpoints: locked by the run, written by renaming, the newest kept.

use super::CheckpointError;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const SUFFIX: &str = ".ckpt";

/// A folder that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes and locks the folder. The lock ends with the process, however that ends.
    ///
    /// # Errors
    /// When another run holds it, or it cannot be written.
    pub fn lock(path: PathBuf) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Folder { folder: path.clone(), source };
        loop {
            fs::create_dir_all(&path).map_err(failed)?;
            let file = match File::create(path.join(LOCK)) {
                // The run before removed the folder just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(CheckpointError::Locked { folder: path }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            if is_at(&file, &path.join(LOCK)) {
                return Ok(Self { path, _lock: file });
            }
        }
    }

    /// Whether a run holds the folder at `path` now.
    pub fn is_locked(path: &Path) -> bool {
        File::open(path.join(LOCK))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoints, newest first, as (step, file).
    pub fn files(&self) -> Vec<(usize, PathBuf)> {
        steps_in(&self.path)
    }

    /// Writes the checkpoint of `step` through `write`: it is whole, or it is not there. Of the others, the
    /// newest `keep - 1` stay. When the disk is full the oldest makes room, as long as one is left.
    ///
    /// # Errors
    /// When it cannot be written; the others are as they were then, but for the one that made room.
    pub fn write(
        &self,
        step: usize,
        keep: usize,
        write: &dyn Fn(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let target = self.path.join(format!("step-{step:010}{SUFFIX}"));
        loop {
            match self.place(&target, write) {
                Ok(()) => break,
                Err(error) => {
                    let files = self.files();
                    let (Some((_, oldest)), true) = (files.last(), files.len() > 1) else {
                        return Err(error);
                    };
                    fs::remove_file(oldest)?;
                }
            }
        }
        for (_, old) in self.files().into_iter().skip(keep.max(1)) {
            fs::remove_file(old)?;
        }
        Ok(())
    }

    fn place(
        &self,
        target: &Path,
        write: &dyn Fn(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let draft = tempfile::Builder::new().prefix(".draft-").tempfile_in(&self.path)?;
        let mut out = BufWriter::with_capacity(1 << 20, draft.as_file());
        write(&mut out)?;
        io::Write::flush(&mut out)?;
        drop(out);
        draft.as_file().sync_all()?;
        draft.persist(target).map_err(|error| error.error)?;
        // The name is on the disk only when the folder is.
        File::open(&self.path)?.sync_all()
    }

    /// Removes every checkpoint and what a killed process left half-written.
    pub fn clear(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name() != LOCK {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes what a killed process left half-written.
    pub fn sweep(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".draft-") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Folder {
    /// A folder without checkpoints is of no use to anybody.
    fn drop(&mut self) {
        if self.files().is_empty() {
            self.clear();
            let _ = fs::remove_file(self.path.join(LOCK));
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// The checkpoints in a folder, newest first, as (step, file).
pub fn steps_in(folder: &Path) -> Vec<(usize, PathBuf)> {
    let mut found: Vec<(usize, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let step = name.to_str()?.strip_prefix("step-")?.strip_suffix(SUFFIX)?.parse().ok()?;
            Some((step, entry.path()))
        })
        .collect();
    found.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
    found
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}
