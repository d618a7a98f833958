//! A file of records that only grows: key, shapes, elements. A record that was cut off by a crash is
//! dropped at the next opening.

use crate::TrainError;
use crate::examples::Feature;
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Sha256 of what a record was computed from.
pub type Key = [u8; 32];

/// First bytes of a file: name and version of the layout.
const MAGIC: &[u8; 8] = b"refitfp1";
/// Bytes before a record's features: key and length of the rest.
const HEADER: usize = 32 + 8;

/// The file, open for appending and locked against a second writer.
pub struct Pack {
    path: PathBuf,
    writer: BufWriter<File>,
    end: u64,
    records: HashMap<Key, Range<usize>>,
}

/// The file, mapped.
pub struct Stored {
    data: Bytes,
    records: HashMap<Key, Range<usize>>,
}

impl Pack {
    /// Opens or makes the file at `path`. Waits while another run writes to it.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let failed = |source| TrainError::FeatureCache { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        file.lock().map_err(failed)?;
        let data = map(&file).map_err(failed)?;
        let (records, end) = scan(&data);
        drop(data);
        file.set_len(end).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut pack = Self { path: path.to_owned(), writer: BufWriter::new(file), end, records };
        if pack.end == 0 {
            pack.write(MAGIC)?;
        }
        Ok(pack)
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.records.contains_key(key)
    }

    pub fn append(&mut self, key: &Key, features: &[Feature]) -> Result<(), TrainError> {
        let mut body = Vec::new();
        body.extend((features.len() as u64).to_le_bytes());
        for feature in features {
            body.extend((feature.shape.len() as u64).to_le_bytes());
            feature.shape.iter().for_each(|&axis| body.extend((axis as u64).to_le_bytes()));
            body.extend(&feature.bytes);
        }
        self.write(key)?;
        self.write(&(body.len() as u64).to_le_bytes())?;
        let start = self.end as usize;
        self.write(&body)?;
        self.records.insert(*key, start..self.end as usize);
        Ok(())
    }

    /// Makes what was appended durable and maps the file for reading.
    pub fn finish(mut self) -> Result<Stored, TrainError> {
        let path = self.path.clone();
        let failed = |source| TrainError::FeatureCache { path: path.clone(), source };
        self.writer.flush().map_err(failed)?;
        let file = self.writer.get_ref();
        file.sync_data().map_err(failed)?;
        let data = map(file).map_err(failed)?;
        // The mapping keeps the open file, and with it the lock, for as long as the features live.
        file.unlock().map_err(failed)?;
        Ok(Stored { data, records: self.records })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let failed = |source| TrainError::FeatureCache { path: self.path.clone(), source };
        self.writer.write_all(bytes).map_err(failed)?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

impl Stored {
    /// The features of these keys: those of the first example's texts, then those of the second's;
    /// `first` says where each example begins.
    pub fn select(self, keys: &[Key], first: Vec<u32>) -> Result<Attached, TrainError> {
        let place = |key| self.records.get(key).cloned().ok_or(TrainError::FeatureLost);
        let places = keys.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Attached { places, first, data: self.data })
    }
}

/// The features of some examples.
#[derive(Debug)]
pub struct Attached {
    data: Bytes,
    places: Vec<Range<usize>>,
    first: Vec<u32>,
}

impl Attached {
    /// The features of one text of an example.
    pub fn get(&self, example: usize, text: usize) -> Result<Vec<Feature>, TrainError> {
        let place = self.first.get(example).and_then(|&first| self.places.get(first as usize + text));
        let place = place.cloned().ok_or(TrainError::FeatureLost)?;
        parse(&self.data.slice(place)).ok_or(TrainError::FeatureLost)
    }
}

fn map(file: &File) -> std::io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the file only grows, and is never truncated below a whole record.
    let map = unsafe { memmap2::Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}

/// The records of a file and where the last whole one ends; zero for a file of another layout.
fn scan(data: &Bytes) -> (HashMap<Key, Range<usize>>, u64) {
    let mut records = HashMap::new();
    if !data.starts_with(MAGIC) {
        return (records, 0);
    }
    let mut at = MAGIC.len();
    while let Some(header) = data.get(at..at + HEADER) {
        let (key, length) = header.split_at(32);
        let length = length.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        let body = at + HEADER;
        let Some(end) = usize::try_from(length).ok().and_then(|length| body.checked_add(length)) else {
            break;
        };
        if end > data.len() || parse(&data.slice(body..end)).is_none() {
            break;
        }
        if let Ok(key) = key.try_into() {
            records.insert(key, body..end);
        }
        at = end;
    }
    (records, at as u64)
}

fn parse(body: &Bytes) -> Option<Vec<Feature>> {
    let mut at = 0;
    let number = |at: &mut usize| -> Option<usize> {
        let bytes = body.get(*at..at.checked_add(8)?)?;
        *at += 8;
        usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let count = number(&mut at)?;
    let mut features = Vec::new();
    for _ in 0..count {
        let rank = number(&mut at)?;
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.push(number(&mut at)?);
        }
        let size = shape.iter().try_fold(4usize, |size, &axis| size.checked_mul(axis))?;
        let end = at.checked_add(size).filter(|&end| end <= body.len())?;
        features.push(Feature { shape, bytes: body.slice(at..end) });
        at = end;
    }
    (at == body.len()).then_some(features)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(values: &[f32]) -> Vec<Feature> {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Bytes>();
        vec![Feature { shape: vec![values.len(), 1], bytes }]
    }

    #[test]
    fn keeps_whole_records_and_drops_a_torn_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a/b.pack");
        let mut pack = Pack::open(&path).expect("opens");
        pack.append(&[1; 32], &feature(&[1.0, 2.0])).expect("appends");
        pack.append(&[2; 32], &feature(&[3.0])).expect("appends");
        drop(pack.finish().expect("finishes"));
        let whole = std::fs::metadata(&path).expect("exists").len();
        for cut in 1..whole {
            std::fs::copy(&path, folder.path().join("cut")).expect("copies");
            let file = OpenOptions::new().write(true).open(folder.path().join("cut")).expect("opens");
            file.set_len(whole - cut).expect("cuts");
            let mut pack = Pack::open(&folder.path().join("cut")).expect("a torn file opens");
            assert!(!pack.contains(&[2; 32]), "cut by {cut}");
            pack.append(&[2; 32], &feature(&[3.0])).expect("appends");
            let stored = pack.finish().expect("finishes");
            let stored = stored.select(&[[2; 32]], vec![0]).expect("is there");
            assert_eq!(stored.get(0, 0).expect("is whole")[0].bytes, feature(&[3.0])[0].bytes);
        }
    }

    #[test]
    fn what_is_stored_keeps_nobody_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.pack");
        let mut first = Pack::open(&path).expect("opens");
        first.append(&[1; 32], &feature(&[1.0])).expect("appends");
        let stored = first.finish().expect("finishes");
        let file = File::open(&path).expect("opens");
        file.try_lock().expect("the lock is free while the features live");
        file.unlock().expect("unlocks");
        let mut second = Pack::open(&path).expect("opens");
        second.append(&[2; 32], &feature(&[2.0])).expect("appends");
        let both = second.finish().expect("finishes");
        let bytes = |stored: Stored| {
            let features = stored.select(&[[1; 32]], vec![0]).and_then(|stored| stored.get(0, 0));
            features.expect("is there")[0].bytes.clone()
        };
        assert_eq!(bytes(stored), bytes(both));
    }

    #[test]
    fn a_foreign_file_is_started_anew() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.pack");
        std::fs::write(&path, b"not a pack, and longer than its magic").expect("writes");
        let mut pack = Pack::open(&path).expect("opens");
        pack.append(&[9; 32], &feature(&[7.0])).expect("appends");
        assert!(pack.finish().expect("finishes").select(&[[9; 32]], vec![0]).is_ok());
    }
}
