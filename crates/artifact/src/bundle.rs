use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use refit_stats::Temperature;
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{ArtifactError, FileRecord, Golden, Manifest, Reference, SCHEMA_VERSION, files};

/// An artifact whose files are all there and unchanged, all of them ([`Bundle::open`]) or those that are asked for
/// ([`Bundle::open_to_load`]).
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
    manifest: Manifest,
    /// Whether the content of every file was checked when it was opened.
    is_checked: bool,
}

/// Files without which a model can be neither served nor watched.
const REQUIRED: [&str; 7] = [
    files::MODEL_FLOAT32,
    files::TOKENIZER,
    files::PREPROCESSING,
    files::LABELS,
    files::REFERENCE,
    files::GOLDEN,
    files::CONFIG,
];

/// The largest file that is read into memory as a whole. Models are not: engines read them from their path.
const MAX_READ_BYTES: u64 = 512 << 20;

/// The manifest is read before anything vouches for its size.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;

impl Bundle {
    /// Opens the artifact in the folder `path`, after checking its schema version, that exactly the listed files
    /// are there, and the size and sha256 of each.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let bundle = Self::open_to_load(path)?;
        check_contents(&bundle.path, &bundle.manifest)?;
        Ok(Self { is_checked: true, ..bundle })
    }

    /// The same, but the sha256 of a file is checked when it is asked for: [`Bundle::read`] and [`Bundle::checked_file`]. An
    /// artifact holds a model in several forms, of which a load reads one.
    pub fn open_to_load(path: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let path = path.into();
        let manifest = read_manifest(&path)?;
        check_consistency(&path, &manifest)?;
        refuse_unlisted(&path, &manifest)?;
        check_sizes(&path, &manifest)?;
        let bundle = Self { path, manifest, is_checked: false };
        let labels: Vec<String> = bundle.json(files::LABELS)?;
        if labels != bundle.manifest.labels {
            return Err(inconsistent(
                &bundle.path,
                "labels.json and the manifest list different labels".into(),
            ));
        }
        Ok(bundle)
    }

    /// The artifact's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the artifact is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The path of a listed file, `None` when the artifact does not have it.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        self.manifest.files.contains_key(name).then(|| self.path.join(name))
    }

    /// The path of a listed file whose content is what the manifest says; `None` when the artifact does not have it.
    pub fn checked_file(&self, name: &str) -> Result<Option<PathBuf>, ArtifactError> {
        let Some(record) = self.manifest.files.get(name) else { return Ok(None) };
        let path = self.path.join(name);
        if !self.is_checked {
            check_content(&path, record)?;
        }
        Ok(Some(path))
    }

    /// The content of a listed file, verified again as it is read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, ArtifactError> {
        let record = self
            .manifest
            .files
            .get(name)
            .ok_or_else(|| ArtifactError::Unlisted { path: self.path.clone(), name: name.into() })?;
        let path = self.path.join(name);
        if record.bytes > MAX_READ_BYTES {
            return Err(ArtifactError::TooLarge { path, bytes: record.bytes, limit: MAX_READ_BYTES });
        }
        let mut content = Vec::with_capacity(record.bytes as usize);
        // One byte more than expected is enough to see that a file has grown.
        open_regular(&path)?
            .take(record.bytes + 1)
            .read_to_end(&mut content)
            .map_err(|source| ArtifactError::Read { path: path.clone(), source })?;
        check_size(&path, record, content.len() as u64)?;
        check_hash(&path, record, &Sha256::digest(&content))?;
        Ok(content)
    }

    /// A listed JSON file as a value.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, ArtifactError> {
        let content = self.read(name)?;
        serde_json::from_slice(&content)
            .map_err(|source| ArtifactError::Parse { path: self.path.join(name), source })
    }

    /// The temperature that was fitted, if one was.
    pub fn calibration(&self) -> Result<Option<Temperature>, ArtifactError> {
        if self.file(files::CALIBRATION).is_none() {
            return Ok(None);
        }
        let fitted: Temperature = self.json(files::CALIBRATION)?;
        if !(fitted.temperature.is_finite() && fitted.temperature > 0.0) {
            let reason = format!("a temperature of {} is not above 0", fitted.temperature);
            return Err(inconsistent(&self.path, reason));
        }
        Ok(Some(fitted))
    }

    /// What inputs and answers looked like at training time.
    pub fn reference(&self) -> Result<Reference, ArtifactError> {
        let reference: Reference = self.json(files::REFERENCE)?;
        for distribution in &reference.distributions {
            if let Err(error) = distribution.validate() {
                let reason =
                    format!("the reference distribution {:?} is invalid: {error}", distribution.feature);
                return Err(inconsistent(&self.path, reason));
            }
        }
        Ok(reference)
    }

    /// The examples whose answers are replayed at load.
    pub fn golden(&self) -> Result<Golden, ArtifactError> {
        self.json(files::GOLDEN)
    }
}

/// Whether `name` is a file directly in the artifact's folder on every system.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.bytes().all(plain)
}

/// What a manifest must say whatever the files hold; checked on both sides, when writing and when opening.
pub(crate) fn check_consistency(path: &Path, manifest: &Manifest) -> Result<(), ArtifactError> {
    if let Some(name) = manifest.files.keys().find(|name| !is_plain_name(name)) {
        return Err(ArtifactError::FileName { name: name.clone() });
    }
    let listed = |name: &str| manifest.files.contains_key(name);
    if let Some(name) = REQUIRED.iter().copied().find(|name| !listed(name)) {
        return Err(ArtifactError::Unlisted { path: path.into(), name: name.into() });
    }
    if !listed(&manifest.serving.file) {
        return Err(ArtifactError::Unlisted { path: path.into(), name: manifest.serving.file.clone() });
    }
    let task: refit_spec::Task = manifest.task.parse().map_err(|_| {
        inconsistent(
            path,
            format!("nothing is known here of its task {:?}: use a newer refit", manifest.task),
        )
    })?;
    let distinct: BTreeSet<&String> = manifest.labels.iter().collect();
    if distinct.len() < task.fewest_labels() || distinct.len() != manifest.labels.len() {
        let fewest = ["no", "one", "two"][task.fewest_labels().min(2)];
        let reason = format!("{task} needs at least {fewest} labels, all different");
        return Err(inconsistent(path, reason));
    }
    if manifest.scale.is_some_and(|scale| !(scale.mean.is_finite() && scale.deviation.is_finite())) {
        return Err(inconsistent(path, "the scale of its numbers is not finite".into()));
    }
    Ok(())
}

fn read_manifest(folder: &Path) -> Result<Manifest, ArtifactError> {
    #[derive(Deserialize)]
    struct Version {
        schema_version: u64,
    }

    let path = folder.join(files::MANIFEST);
    let file = match open_regular(&path) {
        Err(ArtifactError::Missing { .. }) => {
            return Err(ArtifactError::NotAnArtifact { path: folder.to_path_buf() });
        }
        other => other?,
    };
    let mut content = Vec::new();
    file.take(MAX_MANIFEST_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|source| ArtifactError::Read { path: path.clone(), source })?;
    if content.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(ArtifactError::TooLarge { path, bytes: content.len() as u64, limit: MAX_MANIFEST_BYTES });
    }
    let parse = |source| ArtifactError::Parse { path: path.clone(), source };
    // The version first: a newer layout may not parse as this one at all.
    let version: Version = serde_json::from_slice(&content).map_err(parse)?;
    if version.schema_version > SCHEMA_VERSION.into() {
        let (found, supported) = (version.schema_version, SCHEMA_VERSION);
        return Err(ArtifactError::Newer { path: folder.to_path_buf(), found, supported });
    }
    serde_json::from_slice(&content).map_err(parse)
}

fn refuse_unlisted(folder: &Path, manifest: &Manifest) -> Result<(), ArtifactError> {
    let read_error = |source| ArtifactError::Read { path: folder.to_path_buf(), source };
    for entry in fs::read_dir(folder).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        let name = entry.file_name();
        let known =
            name.to_str().is_some_and(|name| name == files::MANIFEST || manifest.files.contains_key(name));
        if !known {
            return Err(ArtifactError::Unexpected { path: entry.path() });
        }
    }
    Ok(())
}

/// A cut-off file is found without hashing any.
fn check_sizes(folder: &Path, manifest: &Manifest) -> Result<(), ArtifactError> {
    for (name, record) in &manifest.files {
        let path = folder.join(name);
        let metadata = open_regular(&path)?
            .metadata()
            .map_err(|source| ArtifactError::Read { path: path.clone(), source })?;
        check_size(&path, record, metadata.len())?;
    }
    Ok(())
}

fn check_contents(folder: &Path, manifest: &Manifest) -> Result<(), ArtifactError> {
    manifest.files.iter().try_for_each(|(name, record)| check_content(&folder.join(name), record))
}

fn check_content(path: &Path, record: &FileRecord) -> Result<(), ArtifactError> {
    let mut hash = Sha256::new();
    io::copy(&mut open_regular(path)?.take(record.bytes), &mut hash)
        .map_err(|source| ArtifactError::Read { path: path.to_owned(), source })?;
    check_hash(path, record, &hash.finalize())
}

/// Opens a file, but no folder, device or link: those could be changed behind the manifest's back, or never end.
fn open_regular(path: &Path) -> Result<File, ArtifactError> {
    let read_error = |source| ArtifactError::Read { path: path.to_path_buf(), source };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => File::open(path).map_err(read_error),
        Ok(_) => Err(read_error(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ArtifactError::Missing { path: path.to_path_buf() })
        }
        Err(error) => Err(read_error(error)),
    }
}

fn check_size(path: &Path, record: &FileRecord, found: u64) -> Result<(), ArtifactError> {
    if record.bytes == found {
        return Ok(());
    }
    Err(ArtifactError::Size { path: path.to_path_buf(), expected: record.bytes, found })
}

fn check_hash(path: &Path, record: &FileRecord, digest: &[u8]) -> Result<(), ArtifactError> {
    let found = hex::encode(digest);
    if record.sha256 == found {
        return Ok(());
    }
    Err(ArtifactError::Hash { path: path.to_path_buf(), expected: record.sha256.clone(), found })
}

fn inconsistent(path: &Path, reason: String) -> ArtifactError {
    ArtifactError::Inconsistent { path: path.to_path_buf(), reason }
}
