//! The record of what is in the cache: for every path that was asked for, the files below it and
//! their sha256.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::data::error::{DataError, io};

/// Fills `root/wanted` by `make` the first time, and checks it against its record every other time.
///
/// `make` writes `wanted` below a staging folder; only what is complete is moved into its place.
pub(super) fn once(
    root: &Path,
    wanted: &str,
    make: impl FnOnce(&Path) -> Result<(), DataError>,
) -> Result<PathBuf, DataError> {
    let place = root.join(wanted);
    let record = root.join(".sha256").join(wanted.replace('%', "%25").replace('/', "%2F"));
    if let Ok(text) = fs::read_to_string(&record)
        && let Ok(expected) = serde_json::from_str::<BTreeMap<String, String>>(&text)
        && place.exists()
    {
        check(&place, &expected)?;
        return Ok(place);
    }
    fs::create_dir_all(root).map_err(io(root))?;
    let staging = tempfile::Builder::new().prefix(".staging").tempdir_in(root).map_err(io(root))?;
    make(staging.path())?;
    let made = staging.path().join(wanted);
    let hashes = hashes(&made)?;
    for file in hashes.keys() {
        let (from, to) = (made.join(file), place.join(file));
        let (from, to) = if file.is_empty() { (made.clone(), place.clone()) } else { (from, to) };
        let parent = to.parent().unwrap_or(root);
        fs::create_dir_all(parent).map_err(io(parent))?;
        fs::rename(&from, &to).map_err(io(&to))?;
    }
    let text = serde_json::to_string_pretty(&hashes).unwrap_or_default();
    write_atomically(&record, text.as_bytes())?;
    Ok(place)
}

/// The sha256 of a file; of a folder, that of its list of files and hashes.
pub(super) fn hash(path: &Path) -> Result<String, DataError> {
    if !path.is_dir() {
        return hash_file(path);
    }
    let mut hasher = Sha256::new();
    for (file, hash) in hashes(path)? {
        hasher.update(format!("{hash}  {file}\n"));
    }
    Ok(hex::encode(hasher.finalize()))
}

/// Writes a file so that it is there whole or not at all.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io(folder))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io(folder))?;
    file.write_all(bytes).map_err(io(path))?;
    file.persist(path).map_err(|error| io(path)(error.error))?;
    Ok(())
}

fn check(place: &Path, expected: &BTreeMap<String, String>) -> Result<(), DataError> {
    for (file, expected) in expected {
        let path = if file.is_empty() { place.to_path_buf() } else { place.join(file) };
        let found = hash_file(&path)?;
        if found != *expected {
            return Err(DataError::Hash { path, expected: expected.clone(), found });
        }
    }
    Ok(())
}

/// sha256 by path relative to `root`; a file is its own only entry, under the empty path.
fn hashes(root: &Path) -> Result<BTreeMap<String, String>, DataError> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    if !root.is_dir() {
        return Ok(BTreeMap::from([(String::new(), hash_file(root)?)]));
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(io(&folder))? {
            let path = entry.map_err(io(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                found.insert(name, hash_file(&path)?);
            }
        }
    }
    Ok(found)
}

fn hash_file(path: &Path) -> Result<String, DataError> {
    let mut file = fs::File::open(path).map_err(io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(io(path))? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}
