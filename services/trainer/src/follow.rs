//! The events of a run, as its process writes them.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Reads whole lines of a growing file, each once.
pub struct Lines {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
}

/// Most bytes that are read at a time.
const MOST: u64 = 1 << 20;

impl Lines {
    /// From its beginning.
    pub fn from_start(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0, rest: Vec::new() }
    }

    /// What comes from now on.
    pub fn from_now(path: &Path) -> Self {
        let offset = std::fs::metadata(path).map_or(0, |file| file.len());
        Self { path: path.to_owned(), offset, rest: Vec::new() }
    }

    /// The lines that were added since; none if the file is not there yet.
    pub fn next(&mut self) -> Vec<String> {
        let Ok(mut file) = std::fs::File::open(&self.path) else { return Vec::new() };
        let mut bytes = Vec::new();
        let read =
            file.seek(SeekFrom::Start(self.offset)).and_then(|_| file.take(MOST).read_to_end(&mut bytes));
        self.offset += read.unwrap_or(0) as u64;
        self.rest.extend(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}

/// Bytes that a process holds in memory, where the system tells.
pub fn resident_bytes(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_whole_line_comes_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut lines = Lines::from_start(&path);
        assert!(lines.next().is_empty(), "no file yet");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(lines.next(), ["one"]);
        assert!(lines.next().is_empty());
        file.write_all(b"o\nthree\n").unwrap();
        assert_eq!(lines.next(), ["two", "three"]);
        assert!(Lines::from_now(&path).next().is_empty());
    }
}
