//! The file of a checkpoint: named lists of numbers, then a checksum of all of it.
//!
//! ```text
//! "refit-checkpoint-1\n"
//! { name length u16, name, kind u8, count u64, elements }*      little-endian
//! 0u16, SHA-256 of everything before it
//! ```

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

const MAGIC: &[u8] = b"refit-checkpoint-1\n";
const DIGEST: usize = 32;
/// Elements that are converted at a time.
const BLOCK: usize = 16 * 1024;

/// Writes lists under their names.
pub struct Writer<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn begin(out: W) -> io::Result<Self> {
        let mut writer = Self { out, hash: Sha256::new() };
        writer.bytes(MAGIC)?;
        Ok(writer)
    }

    /// A list of float32.
    pub fn f32s(&mut self, name: &str, values: &[f32]) -> io::Result<()> {
        self.head(name, Kind::F32, values.len())?;
        self.elements(values, |value| value.to_le_bytes())
    }

    /// A list of float64.
    pub fn f64s(&mut self, name: &str, values: &[f64]) -> io::Result<()> {
        self.head(name, Kind::F64, values.len())?;
        self.elements(values, |value| value.to_le_bytes())
    }

    /// A list of counts.
    pub fn counts(&mut self, name: &str, values: &[usize]) -> io::Result<()> {
        self.head(name, Kind::U64, values.len())?;
        self.elements(values, |value| (value as u64).to_le_bytes())
    }

    /// A text, or any other bytes.
    pub fn raw(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.head(name, Kind::Bytes, bytes.len())?;
        self.bytes(bytes)
    }

    /// Ends the file with its checksum.
    pub fn finish(mut self) -> io::Result<W> {
        self.bytes(&0u16.to_le_bytes())?;
        let digest = self.hash.finalize();
        self.out.write_all(&digest)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn head(&mut self, name: &str, kind: Kind, count: usize) -> io::Result<()> {
        let length = u16::try_from(name.len()).ok().filter(|&length| length > 0);
        let length = length.ok_or_else(|| io::Error::other(format!("the name {name:?} is too long")))?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(name.as_bytes())?;
        self.bytes(&[kind as u8])?;
        self.bytes(&(count as u64).to_le_bytes())
    }

    fn elements<T: Copy, const N: usize>(&mut self, values: &[T], le: fn(T) -> [u8; N]) -> io::Result<()> {
        let mut block = Vec::with_capacity(BLOCK * N);
        for values in values.chunks(BLOCK) {
            block.clear();
            block.extend(values.iter().flat_map(|value| le(*value)));
            self.bytes(&block)?;
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Saved {
    lists: BTreeMap<String, Values>,
}

#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Counts(Vec<u64>),
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy)]
enum Kind {
    F32 = 1,
    F64 = 2,
    U64 = 3,
    Bytes = 4,
}

/// Why a file is not used; the one before it is then.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Unreadable {
    #[error("it cannot be read ({0})")]
    Io(#[from] io::Error),
    #[error("it is truncated or was written by another version of refit")]
    Format,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it lacks \"{name}\"")]
    Missing { name: String },
}

impl Saved {
    /// Reads a file and proves its checksum. Never holds more than the file's own size.
    ///
    /// # Errors
    /// When the file is not whole.
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        let file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(|_| Unreadable::Format)?;
        let left = length.checked_sub(DIGEST).ok_or(Unreadable::Format)?;
        let mut input = Input { file: BufReader::with_capacity(1 << 20, file), hash: Sha256::new(), left };
        if input.take(MAGIC.len())? != MAGIC {
            return Err(Unreadable::Format);
        }
        let mut saved = Self::default();
        loop {
            let name = u16::from_le_bytes(input.array()?);
            if name == 0 {
                break;
            }
            let name = String::from_utf8(input.take(usize::from(name))?).map_err(|_| Unreadable::Format)?;
            let [kind] = input.array()?;
            let count =
                usize::try_from(u64::from_le_bytes(input.array()?)).map_err(|_| Unreadable::Format)?;
            saved.lists.insert(name, input.values(kind, count)?);
        }
        if input.left != 0 {
            return Err(Unreadable::Format);
        }
        let mut digest = [0; DIGEST];
        input.file.read_exact(&mut digest).map_err(truncated)?;
        if <[u8; DIGEST]>::from(input.hash.finalize()) != digest {
            Err(Unreadable::Checksum)
        } else {
            Ok(saved)
        }
    }

    /// Takes the list of float32 under `name`.
    pub fn f32s(&mut self, name: &str) -> Result<Vec<f32>, Unreadable> {
        match self.lists.remove(name) {
            Some(Values::F32(values)) => Ok(values),
            _ => Err(missing(name)),
        }
    }

    /// Takes the list of float64 under `name`.
    pub fn f64s(&mut self, name: &str) -> Result<Vec<f64>, Unreadable> {
        match self.lists.remove(name) {
            Some(Values::F64(values)) => Ok(values),
            _ => Err(missing(name)),
        }
    }

    /// Takes `N` counts under `name`.
    pub fn counts<const N: usize>(&mut self, name: &str) -> Result<[usize; N], Unreadable> {
        match self.lists.remove(name) {
            Some(Values::Counts(values)) => {
                let counts: Vec<usize> =
                    values.into_iter().filter_map(|value| usize::try_from(value).ok()).collect();
                counts.try_into().map_err(|_| missing(name))
            }
            _ => Err(missing(name)),
        }
    }

    /// The bytes under `name`.
    pub fn raw(&self, name: &str) -> Result<&[u8], Unreadable> {
        match self.lists.get(name) {
            Some(Values::Bytes(bytes)) => Ok(bytes),
            _ => Err(missing(name)),
        }
    }
}

fn missing(name: &str) -> Unreadable {
    Unreadable::Missing { name: name.to_owned() }
}

fn truncated(error: io::Error) -> Unreadable {
    if error.kind() == io::ErrorKind::UnexpectedEof { Unreadable::Format } else { error.into() }
}

/// The bytes before the checksum.
struct Input {
    file: BufReader<File>,
    hash: Sha256,
    left: usize,
}

impl Input {
    fn take(&mut self, count: usize) -> Result<Vec<u8>, Unreadable> {
        self.left = self.left.checked_sub(count).ok_or(Unreadable::Format)?;
        let mut bytes = vec![0; count];
        self.file.read_exact(&mut bytes).map_err(truncated)?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.take(N)?.try_into().map_err(|_| Unreadable::Format)
    }

    fn values(&mut self, kind: u8, count: usize) -> Result<Values, Unreadable> {
        Ok(match kind {
            1 => Values::F32(self.elements(count, f32::from_le_bytes)?),
            2 => Values::F64(self.elements(count, f64::from_le_bytes)?),
            3 => Values::Counts(self.elements(count, u64::from_le_bytes)?),
            4 => Values::Bytes(self.take(count)?),
            _ => return Err(Unreadable::Format),
        })
    }

    fn elements<T, const N: usize>(
        &mut self,
        count: usize,
        of: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Unreadable> {
        if count.checked_mul(N).is_none_or(|bytes| bytes > self.left) {
            return Err(Unreadable::Format);
        }
        let mut values = Vec::with_capacity(count);
        while values.len() < count {
            let block = self.take((count - values.len()).min(BLOCK) * N)?;
            values.extend(block.as_chunks::<N>().0.iter().map(|element| of(*element)));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("a.ckpt");
        let mut writer = Writer::begin(File::create(&path).unwrap()).unwrap();
        let many: Vec<f32> = (0..BLOCK + 3).map(|value| value as f32 * 0.1).collect();
        writer.f32s("weights", &many).unwrap();
        writer.f64s("loss", &[0.1 + 0.2, f64::MIN_POSITIVE]).unwrap();
        writer.counts("place", &[1, 2, usize::MAX]).unwrap();
        writer.raw("of", b"{}").unwrap();
        writer.finish().unwrap();
        path
    }

    #[test]
    fn every_bit_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut saved = Saved::read(&written(folder.path())).unwrap();
        let weights = saved.f32s("weights").unwrap();
        assert_eq!((weights.len(), weights[BLOCK + 2]), (BLOCK + 3, (BLOCK + 2) as f32 * 0.1));
        assert_eq!(saved.f64s("loss").unwrap(), [0.1 + 0.2, f64::MIN_POSITIVE]);
        assert_eq!(saved.counts::<3>("place").unwrap(), [1, 2, usize::MAX]);
        assert_eq!(saved.raw("of").unwrap(), b"{}");
        assert!(matches!(saved.f32s("weights"), Err(Unreadable::Missing { .. })));
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let whole = std::fs::read(&path).unwrap();
        for place in (0..whole.len()).step_by(97).chain(whole.len() - 40..whole.len()) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x40;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Saved::read(&path).is_err(), "byte {place}");
            std::fs::write(&path, &whole[..place]).unwrap();
            assert!(Saved::read(&path).is_err(), "cut at {place}");
        }
        std::fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
        assert!(Saved::read(&path).is_err(), "something after the end");
    }
}
