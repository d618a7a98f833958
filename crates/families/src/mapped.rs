//! Files as bytes that stay in the file.

use crate::FamilyError;
use bytes::Bytes;
use refit_graph::onnx::ExternalData;
use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Maps a file. Slices of the result share the mapping.
pub(crate) fn map(path: &Path) -> Result<Bytes, FamilyError> {
    open(path).map_err(|source| FamilyError::Read { path: path.to_owned(), source })
}

fn open(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read-only. A file that shrinks under it would fault: weights
    // are published by rename and never edited in place, here as in every cache that holds them.
    let mapping = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file)? };
    Ok(Bytes::from_owner(mapping))
}

/// The files beside an ONNX model; each is mapped once.
pub(crate) struct Folder {
    root: PathBuf,
    mapped: RefCell<HashMap<PathBuf, Bytes>>,
}

impl Folder {
    /// The folder of `model`.
    pub(crate) fn of(model: &Path) -> Self {
        let root = model.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { root: root.to_owned(), mapped: RefCell::default() }
    }
}

impl ExternalData for Folder {
    fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
        let explain = |error: io::Error| format!("it cannot be read ({error})");
        // Symbolic links are resolved first, so that none leads out of the folder.
        let root = self.root.canonicalize().map_err(explain)?;
        let path = root.join(location).canonicalize().map_err(explain)?;
        if !path.starts_with(&root) {
            return Err("it lies outside of the model's folder".to_owned());
        }
        let mut mapped = self.mapped.borrow_mut();
        let bytes = match mapped.get(&path) {
            Some(bytes) => bytes.clone(),
            None => mapped.entry(path.clone()).or_insert(open(&path).map_err(explain)?).clone(),
        };
        let size = bytes.len() as u64;
        let end = length.map_or(Some(size), |length| offset.checked_add(length));
        match end {
            Some(end) if offset <= end && end <= size => Ok(bytes.slice(offset as usize..end as usize)),
            _ => Err(format!("the file ends at byte {size}, before the tensor does: it is truncated")),
        }
    }
}
