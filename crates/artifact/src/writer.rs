use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    ArtifactError, FileRecord, Manifest, SCHEMA_VERSION,
    bundle::{check_consistency, is_plain_name},
    files,
};

/// Writes an artifact so that it is there complete or not at all.
///
/// Files are written and synced in a hidden folder beside the target, which becomes the target by one rename.
/// Whatever fails before that, or a writer that is dropped, leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    target: PathBuf,
    staging: TempDir,
    files: BTreeMap<String, FileRecord>,
}

/// A staging folder that nobody has touched for so long belongs to a process that was killed.
const ABANDONED_AFTER: Duration = Duration::from_secs(6 * 3600);

impl Writer {
    /// Begins an artifact that will be at `target`, whose parent folders are created.
    pub fn begin(target: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let target = target.into();
        if fs::symlink_metadata(&target).is_ok() {
            return Err(ArtifactError::Exists { path: target });
        }
        let staging = create_staging(&target).map_err(|source| write_error(&target, source))?;
        Ok(Self { target, staging, files: BTreeMap::new() })
    }

    /// Adds a file with this content.
    pub fn add_file(&mut self, name: &str, content: &[u8]) -> Result<&mut Self, ArtifactError> {
        self.add_reader(name, content)
    }

    /// Adds a copy of the file at `source`, which may be larger than memory.
    pub fn add_copy(&mut self, name: &str, source: &Path) -> Result<&mut Self, ArtifactError> {
        let reader = File::open(source)
            .map_err(|error| ArtifactError::Read { path: source.to_path_buf(), source: error })?;
        self.add_reader(name, reader)
    }

    /// Adds a file that holds `value` as JSON.
    pub fn add_json(
        &mut self,
        name: &str,
        value: &impl serde::Serialize,
    ) -> Result<&mut Self, ArtifactError> {
        let content = to_json(&self.target, value)?;
        self.add_file(name, &content)
    }

    /// Where the files lie until the artifact is finished, for tools that need a path to look at them.
    pub fn staged(&self, name: &str) -> PathBuf {
        self.staging.path().join(name)
    }

    /// Publishes the artifact. `manifest.files` and `manifest.schema_version` are filled in here.
    pub fn finish(self, mut manifest: Manifest) -> Result<Manifest, ArtifactError> {
        manifest.schema_version = SCHEMA_VERSION;
        manifest.files = self.files;
        check_consistency(&self.target, &manifest)?;
        let content = to_json(&self.target, &manifest)?;
        let failed = |source| write_error(&self.target, source);

        write_synced(&self.staging.path().join(files::MANIFEST), &content[..]).map_err(failed)?;
        sync_folder(self.staging.path()).map_err(failed)?;
        fs::rename(self.staging.path(), &self.target).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::NotADirectory => ArtifactError::Exists { path: self.target.clone() },
            _ => write_error(&self.target, source),
        })?;
        // The folder has its final name now: there is nothing left to clean up.
        let _ = self.staging.keep();
        sync_folder(parent_of(&self.target)).map_err(failed)?;
        Ok(manifest)
    }

    fn add_reader(&mut self, name: &str, content: impl Read) -> Result<&mut Self, ArtifactError> {
        if !is_plain_name(name) || name == files::MANIFEST {
            return Err(ArtifactError::FileName { name: name.into() });
        }
        if self.files.contains_key(name) {
            return Err(ArtifactError::Duplicate { name: name.into() });
        }
        let record = write_synced(&self.staging.path().join(name), content)
            .map_err(|source| write_error(&self.target, source))?;
        self.files.insert(name.into(), record);
        Ok(self)
    }
}

fn create_staging(target: &Path) -> io::Result<TempDir> {
    let parent = parent_of(target);
    fs::create_dir_all(parent)?;
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?);
    prefix.push(".partial-");
    remove_abandoned(parent, &prefix);

    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    // The folder is the artifact later on, which another user (a serving container) may have to read.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent)
}

/// Removes what killed writers of the same target left. That it works is not needed for this writer to go on.
fn remove_abandoned(parent: &Path, prefix: &OsString) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if ours && age.is_some_and(|age| age > ABANDONED_AFTER) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn write_synced(path: &Path, mut content: impl Read) -> io::Result<FileRecord> {
    let mut file = File::create(path)?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut block = vec![0; 1 << 20];
    loop {
        let length = content.read(&mut block)?;
        if length == 0 {
            break;
        }
        file.write_all(&block[..length])?;
        hash.update(&block[..length]);
        bytes += length as u64;
    }
    file.sync_all()?;
    Ok(FileRecord { sha256: hex::encode(hash.finalize()), bytes })
}

/// Without this a crash could forget the names in a folder although the files' content is on disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

fn parent_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn to_json(target: &Path, value: &impl serde::Serialize) -> Result<Vec<u8>, ArtifactError> {
    let mut content = serde_json::to_vec_pretty(value)
        .map_err(|source| write_error(target, io::Error::new(io::ErrorKind::InvalidData, source)))?;
    content.push(b'\n');
    Ok(content)
}

fn write_error(target: &Path, source: io::Error) -> ArtifactError {
    let path = target.to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ArtifactError::DiskFull { path, source },
        _ => ArtifactError::Write { path, source },
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// `/dev/full` refuses every write the way a full disk does, and a link to it stands where the file would be.
    #[test]
    fn a_full_disk_leaves_nothing_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("v1");
        let mut writer = Writer::begin(&target).unwrap();
        std::os::unix::fs::symlink("/dev/full", writer.staged("model.float32.onnx")).unwrap();
        let error = writer.add_file("model.float32.onnx", &[7; 4096]).unwrap_err();
        assert!(matches!(&error, ArtifactError::DiskFull { path, .. } if *path == target), "{error:?}");
        assert!(error.to_string().contains("free some space"), "{error}");
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_killed_writers_left_is_removed_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let (old, recent) = (folder.path().join(".v1.partial-old"), folder.path().join(".v1.partial-recent"));
        for path in [&old, &recent] {
            fs::create_dir(path).unwrap();
        }
        let long_ago = SystemTime::now() - ABANDONED_AFTER - Duration::from_secs(60);
        File::open(&old).unwrap().set_modified(long_ago).unwrap();
        let _writer = Writer::begin(folder.path().join("v1")).unwrap();
        assert!(!old.exists() && recent.exists());
    }
}
