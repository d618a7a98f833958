//! Records on disk in the order they came: what does not fit into memory is read back from a file,
//! record by record, at a cost of eight bytes of memory each.
//!
//! A record is its length (u32, little-endian) and its bytes in postcard's format. Few records stay in
//! memory; the file has no name, so that nothing is left of it when the process ends in whatever way.

use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::DataError;

/// Bytes that stay in memory before a file is made.
pub const IN_MEMORY: usize = 16 << 20;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes that are read at once where records are read in their order.
const WINDOW_BYTES: usize = 256 << 10;
/// Bytes that are read at once where one record is asked for.
const RECORD_BYTES: usize = 1 << 10;

/// Where records are kept; it only grows.
pub struct Spool<T> {
    storage: RwLock<Storage>,
    folder: PathBuf,
    in_memory: usize,
    record: PhantomData<fn() -> T>,
}

#[derive(Default)]
struct Storage {
    /// What is not in the file yet.
    tail: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    written: u64,
}

impl<T: Serialize + DeserializeOwned> Spool<T> {
    /// An empty one, with its file in `folder` once more than `in_memory` bytes are kept.
    pub fn new(folder: &Path, in_memory: usize) -> Self {
        Self { storage: RwLock::default(), folder: folder.into(), in_memory, record: PhantomData }
    }

    /// Appends a record and returns its place.
    ///
    /// # Errors
    /// When the folder cannot be written or the disk is full.
    pub fn push(&self, record: &T) -> Result<u64, DataError> {
        let bytes =
            postcard::to_allocvec(record).map_err(|error| self.failed(std::io::Error::other(error)))?;
        let length = u32::try_from(bytes.len()).map_err(|error| self.failed(std::io::Error::other(error)))?;
        let mut storage = self.storage.write().unwrap_or_else(PoisonError::into_inner);
        let place = storage.written + storage.tail.len() as u64;
        storage.tail.extend(length.to_le_bytes());
        storage.tail.extend(bytes);
        let room = if storage.file.is_some() { WRITE_BYTES } else { self.in_memory };
        if storage.tail.len() > room {
            storage.flush(&self.folder).map_err(|error| self.failed(error))?;
        }
        Ok(place)
    }

    /// The record at a place.
    ///
    /// # Errors
    /// When the file cannot be read, or no record starts there.
    pub fn get(&self, place: u64) -> Result<T, DataError> {
        self.read(place, &mut Window::default(), RECORD_BYTES)
    }

    fn read(&self, place: u64, window: &mut Window, ahead: usize) -> Result<T, DataError> {
        let storage = self.storage.read().unwrap_or_else(PoisonError::into_inner);
        let record = |bytes: &[u8]| {
            postcard::from_bytes(bytes).map_err(|error| self.failed(std::io::Error::other(error)))
        };
        if place >= storage.written {
            let torn = || self.failed(std::io::ErrorKind::UnexpectedEof.into());
            let bytes = usize::try_from(place - storage.written).ok().and_then(|at| storage.tail.get(at..));
            return record(bytes.and_then(body).ok_or_else(torn)?);
        }
        if let Some(bytes) = window.after(place).and_then(body) {
            return record(bytes);
        }
        storage.fill(window, place, ahead.max(4)).map_err(|error| self.failed(error))?;
        if let Some(bytes) = body(&window.bytes) {
            return record(bytes);
        }
        let need = window.bytes.first_chunk().map_or(0, |length| 4 + u32::from_le_bytes(*length) as usize);
        storage.fill(window, place, need).map_err(|error| self.failed(error))?;
        record(body(&window.bytes).ok_or_else(|| self.failed(std::io::ErrorKind::UnexpectedEof.into()))?)
    }

    fn failed(&self, source: std::io::Error) -> DataError {
        DataError::Spool { folder: self.folder.clone(), source }
    }
}

impl Storage {
    fn flush(&mut self, folder: &Path) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                std::fs::create_dir_all(folder)?;
                none.insert(tempfile::tempfile_in(folder)?)
            }
        };
        file.write_all_at(&self.tail, self.written)?;
        self.written += self.tail.len() as u64;
        self.tail = Vec::with_capacity(WRITE_BYTES + WRITE_BYTES / 8);
        Ok(())
    }

    /// Reads up to `length` bytes of the file from `place` on.
    fn fill(&self, window: &mut Window, place: u64, length: usize) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
        let length = length.min(usize::try_from(self.written - place).unwrap_or(usize::MAX));
        window.start = place;
        window.bytes.resize(length, 0);
        file.read_exact_at(&mut window.bytes, place)
    }
}

/// A part of the file.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn after(&self, place: u64) -> Option<&[u8]> {
        self.bytes.get(usize::try_from(place.checked_sub(self.start)?).ok()?..)
    }
}

/// The bytes of the record at the beginning, if it is there whole.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    bytes.get(4..)?.get(..length)
}

/// Some records of a spool, in an order of their own.
pub struct Spooled<T> {
    spool: Arc<Spool<T>>,
    places: Vec<u64>,
}

impl<T> Clone for Spooled<T> {
    fn clone(&self) -> Self {
        Self { spool: Arc::clone(&self.spool), places: self.places.clone() }
    }
}

impl<T> std::fmt::Debug for Spooled<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records", self.places.len())
    }
}

impl<T> Spooled<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The records with these numbers, in this order; a number that is not there is left out.
    pub fn select(&self, numbers: &[usize]) -> Self {
        let places = numbers.iter().filter_map(|&number| self.places.get(number).copied()).collect();
        Self { spool: Arc::clone(&self.spool), places }
    }

    /// Keeps the records for which `keep` says so, asked by number in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut number = 0;
        self.places.retain(|_| {
            number += 1;
            keep(number - 1)
        });
        self.places.shrink_to_fit();
    }
}

impl<T: Serialize + DeserializeOwned> Spooled<T> {
    /// None yet, in a spool of their own.
    pub fn new(spool: Arc<Spool<T>>) -> Self {
        Self { spool, places: Vec::new() }
    }

    /// Records that are in memory already, such as a test's.
    ///
    /// # Errors
    /// When they are too large for memory and the folder for temporary files cannot be written.
    pub fn of(records: impl IntoIterator<Item = T>) -> Result<Self, DataError> {
        let mut spooled = Self::new(Arc::new(Spool::new(&std::env::temp_dir(), IN_MEMORY)));
        records.into_iter().try_for_each(|record| spooled.push(&record))?;
        Ok(spooled)
    }

    /// Appends a record.
    ///
    /// # Errors
    /// As [`Spool::push`].
    pub fn push(&mut self, record: &T) -> Result<(), DataError> {
        self.places.push(self.spool.push(record)?);
        Ok(())
    }

    /// Adds a record that the spool has already.
    pub(crate) fn push_place(&mut self, place: u64) {
        self.places.push(place);
    }

    /// The record with this number.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub fn get(&self, number: usize) -> Result<T, DataError> {
        let missing = || self.spool.failed(std::io::ErrorKind::NotFound.into());
        self.spool.get(*self.places.get(number).ok_or_else(missing)?)
    }

    /// All of them, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Result<T, DataError>> + '_ {
        let mut window = Window::default();
        self.places.iter().map(move |&place| self.spool.read(place, &mut window, WINDOW_BYTES))
    }

    /// All of them, `length` at a time.
    pub fn chunks(&self, length: usize) -> impl Iterator<Item = Result<Vec<T>, DataError>> + '_ {
        let mut records = self.iter();
        std::iter::from_fn(move || {
            let chunk: Result<Vec<T>, DataError> = records.by_ref().take(length.max(1)).collect();
            Some(chunk).filter(|chunk| !matches!(chunk, Ok(chunk) if chunk.is_empty()))
        })
    }

    /// All of them, in memory.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn to_vec(&self) -> Result<Vec<T>, DataError> {
        self.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        (0..500).map(|i| "word ".repeat(i * 37 % 900)).collect()
    }

    #[test]
    fn a_file_gives_back_what_memory_does() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let huge = "x".repeat(WINDOW_BYTES * 2);
        for in_memory in [0, 1000, usize::MAX] {
            let spool = Arc::new(Spool::new(&folder.path().join("new"), in_memory));
            let mut spooled = Spooled::new(spool);
            let expected: Vec<String> = texts().into_iter().chain([huge.clone(), String::new()]).collect();
            for text in &expected {
                spooled.push(text).expect("pushes");
            }
            assert_eq!(spooled.to_vec().expect("reads"), expected);
            for number in [0, 1, 499, 500, 501, 250] {
                assert_eq!(spooled.get(number).expect("reads"), expected[number]);
            }
            let some = spooled.select(&[500, 3, 501, 9999]);
            let picked = [500, 3, 501].map(|number| expected[number].clone());
            assert_eq!(some.to_vec().expect("reads"), picked);
            let chunks: Vec<usize> = spooled.chunks(100).map(|chunk| chunk.expect("reads").len()).collect();
            assert_eq!(chunks, [100, 100, 100, 100, 100, 2]);
            assert!(spooled.get(502).is_err());
            spooled.retain(|number| number % 2 == 1);
            assert_eq!(spooled.get(1).expect("reads"), expected[3]);
        }
        let left: Vec<_> = std::fs::read_dir(folder.path().join("new")).expect("lists").collect();
        assert!(left.is_empty(), "the file has no name");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("file"), "").expect("writes");
        let spool: Spool<String> = Spool::new(&folder.path().join("file/below"), 0);
        let error = spool.push(&"text".to_owned()).expect_err("it is no folder").to_string();
        assert!(error.contains("file/below") && error.contains("free space"), "{error}");
    }
}
