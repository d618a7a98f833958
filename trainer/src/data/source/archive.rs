//! Takes one file, or the files below one folder, out of a zip or tar archive: bounded in size, and
//! never outside the folder that they are written to.

use std::fs::{self, File};
use std::io::{self as stdio, BufReader, Read, Seek};
use std::path::{Component, Path};

use refit_spec::nearest;

use crate::data::error::{DataError, io};

/// Where paths start in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// At the top.
    Plain,
    /// Below the one folder at the top, as in source distributions.
    FirstFolder,
}

/// Largest unpacked size of all that is taken.
const MAX_BYTES: u64 = 8 << 30;
const MAX_FILES: usize = 100_000;

/// Writes `wanted`, a file or a folder in `archive`, below `target` under its own path.
pub(super) fn extract(archive: &Path, wanted: &str, root: Root, target: &Path) -> Result<(), DataError> {
    let mut taken =
        Taken { archive, wanted, root, target, names: Vec::new(), files: 0, bytes_left: MAX_BYTES };
    let mut file = File::open(archive).map_err(io(archive))?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic).map_err(io(archive))?;
    file.rewind().map_err(io(archive))?;
    let reader = BufReader::new(file);
    match &magic[..read] {
        b"PK\x03\x04" => taken.zip(reader)?,
        [0x1f, 0x8b, ..] => taken.tar(flate2::read::MultiGzDecoder::new(reader))?,
        _ => taken.tar(reader)?,
    }
    if taken.files > 0 {
        return Ok(());
    }
    let suggestion = nearest(wanted, taken.names.iter().map(String::as_str)).map(String::from);
    Err(DataError::MemberMissing { archive: name_of(archive), member: wanted.into(), suggestion })
}

struct Taken<'a> {
    archive: &'a Path,
    wanted: &'a str,
    root: Root,
    target: &'a Path,
    names: Vec<String>,
    files: usize,
    bytes_left: u64,
}

impl Taken<'_> {
    fn zip(&mut self, reader: impl Read + Seek) -> Result<(), DataError> {
        let mut zip = zip::ZipArchive::new(reader).map_err(self.broken())?;
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).map_err(self.broken())?;
            let name = entry.name().map_err(self.broken())?.into_owned();
            if entry.is_file() {
                self.entry(&name, &mut entry)?;
            }
        }
        Ok(())
    }

    fn tar(&mut self, reader: impl Read) -> Result<(), DataError> {
        let mut tar = tar::Archive::new(reader);
        for entry in tar.entries().map_err(self.broken())? {
            let mut entry = entry.map_err(self.broken())?;
            let name = entry.path().map_err(self.broken())?.to_string_lossy().into_owned();
            if entry.header().entry_type().is_file() {
                self.entry(&name, &mut entry)?;
            }
        }
        Ok(())
    }

    /// Writes the entry if it is wanted. Links are never followed nor made: only files come here.
    fn entry(&mut self, name: &str, content: &mut dyn Read) -> Result<(), DataError> {
        let inside = match self.root {
            Root::Plain => name,
            Root::FirstFolder => name.split_once('/').map_or("", |(_, inside)| inside),
        };
        let below =
            inside.strip_prefix(self.wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let contained = Path::new(inside).components().all(|part| matches!(part, Component::Normal(_)));
        if !below || !contained {
            if self.names.len() < MAX_FILES {
                self.names.push(inside.into());
            }
            return Ok(());
        }
        let path = self.target.join(inside);
        let folder = path.parent().unwrap_or(self.target);
        fs::create_dir_all(folder).map_err(io(folder))?;
        let mut file = File::create(&path).map_err(io(&path))?;
        let limit = self.bytes_left;
        let copied = stdio::copy(&mut content.take(limit + 1), &mut file).map_err(self.broken())?;
        self.files += 1;
        if copied > limit || self.files > MAX_FILES {
            let (archive, member) = (name_of(self.archive), inside.into());
            return Err(DataError::MemberTooLarge { archive, member, limit: MAX_BYTES });
        }
        self.bytes_left -= copied;
        Ok(())
    }

    fn broken<E: Into<Box<dyn std::error::Error + Send + Sync>>>(&self) -> impl FnOnce(E) -> DataError {
        let path = self.archive.to_path_buf();
        |error| DataError::Archive { path, source: error.into() }
    }
}

fn name_of(archive: &Path) -> String {
    archive.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
