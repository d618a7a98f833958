//! Predictions on disk that wait for the store: bounded in bytes, and there again after a restart.
//!
//! A file holds one batch, a JSON object a line, and gets its name only when it is whole, so that whatever has a name can
//! be read. The store takes a prediction once, so a batch that was written and not yet forgotten here does no harm.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use refit_store::{PredictionRecord, Role};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The files, oldest first.
pub(crate) struct Spool {
    folder: PathBuf,
    most_bytes: u64,
    files: VecDeque<(PathBuf, u64)>,
    bytes: u64,
}

/// Why a batch is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error("{waiting} bytes wait already, and more than {most} may not")]
    Full { waiting: u64, most: u64 },
    #[error("{} cannot be written", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A line of a file.
#[derive(Serialize, Deserialize)]
struct Line {
    id: String,
    model: String,
    version: String,
    role: Role,
    text: String,
    label: String,
    confidence: f32,
    probabilities: Vec<f32>,
    predicted_at: Timestamp,
}

const WHOLE: &str = "jsonl";

impl Spool {
    /// Takes up what an earlier process left; what it had not finished to write is removed.
    pub fn open(folder: &Path, most_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let (path, size) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?.len())))?;
            if path.extension().is_some_and(|extension| extension == WHOLE) {
                files.push((path, size));
            } else {
                let _ = std::fs::remove_file(path);
            }
        }
        // Their names begin with the time.
        files.sort();
        let bytes = files.iter().map(|(_, size)| size).sum();
        Ok(Self { folder: folder.to_owned(), most_bytes, files: files.into(), bytes })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps a batch, or none of it.
    pub async fn push(&mut self, records: &[PredictionRecord]) -> Result<(), SpoolError> {
        let bytes = write(records);
        let size = bytes.len() as u64;
        if self.bytes + size > self.most_bytes {
            return Err(SpoolError::Full { waiting: self.bytes, most: self.most_bytes });
        }
        let path = self.folder.join(format!("{}.{WHOLE}", Uuid::now_v7()));
        let part = path.with_extension("part");
        let written = async {
            tokio::fs::write(&part, bytes).await?;
            tokio::fs::rename(&part, &path).await
        };
        if let Err(source) = written.await {
            let _ = tokio::fs::remove_file(&part).await;
            return Err(SpoolError::Write { path, source });
        }
        self.files.push_back((path, size));
        self.bytes += size;
        Ok(())
    }

    /// The oldest batch, and how many of its lines cannot be read.
    pub async fn oldest(&self) -> Option<(Vec<PredictionRecord>, u64)> {
        let (path, _) = self.files.front()?;
        let bytes = tokio::fs::read(path).await.unwrap_or_default();
        Some(read(&bytes))
    }

    /// Forgets the oldest batch.
    pub async fn forget_oldest(&mut self) {
        if let Some((path, size)) = self.files.pop_front() {
            self.bytes -= size;
            let _ = tokio::fs::remove_file(path).await;
        }
    }
}

fn write(records: &[PredictionRecord]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let line = Line {
            id: record.id.to_string(),
            model: record.model.clone(),
            version: record.version.clone(),
            role: record.role,
            text: record.text.clone(),
            label: record.label.clone(),
            confidence: record.confidence,
            probabilities: record.probabilities.clone(),
            predicted_at: record.predicted_at,
        };
        // Writing to memory cannot fail, and a line is always JSON.
        let _ = serde_json::to_writer(&mut bytes, &line);
        bytes.push(b'\n');
    }
    bytes
}

fn read(bytes: &[u8]) -> (Vec<PredictionRecord>, u64) {
    let (mut records, mut broken) = (Vec::new(), 0);
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let record = serde_json::from_slice::<Line>(line).ok().and_then(record);
        match record {
            Some(record) => records.push(record),
            None => broken += 1,
        }
    }
    (records, broken)
}

fn record(line: Line) -> Option<PredictionRecord> {
    Some(PredictionRecord {
        id: line.id.parse().ok()?,
        model: line.model,
        version: line.version,
        role: line.role,
        text: line.text,
        label: line.label,
        confidence: line.confidence,
        probabilities: line.probabilities,
        predicted_at: line.predicted_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(text: &str) -> PredictionRecord {
        PredictionRecord {
            id: Uuid::now_v7(),
            model: "m".into(),
            version: "1".into(),
            role: Role::Canary,
            text: text.into(),
            label: "good".into(),
            confidence: 0.75,
            probabilities: vec![0.25, 0.75],
            predicted_at: "2026-11-21T04:00:00.25Z".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn batches_come_back_in_their_order_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let batches = [vec![prediction("one\nand \u{e4}"), prediction("two")], vec![prediction("three")]];
        let mut spool = Spool::open(folder.path(), 10_000).unwrap();
        for batch in &batches {
            spool.push(batch).await.unwrap();
        }
        std::fs::write(folder.path().join("half.part"), "{\"id\"").unwrap();
        let bytes = spool.bytes();
        let mut spool = Spool::open(folder.path(), 10_000).unwrap();
        assert_eq!(spool.bytes(), bytes);
        for batch in &batches {
            assert_eq!(spool.oldest().await.unwrap(), (batch.clone(), 0));
            spool.forget_oldest().await;
        }
        assert!(spool.oldest().await.is_none() && spool.bytes() == 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn it_does_not_grow_beyond_its_bytes_and_a_broken_line_costs_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 400).unwrap();
        spool.push(&[prediction("fits")]).await.unwrap();
        let error = spool.push(&[prediction(&"x".repeat(300))]).await.unwrap_err();
        assert!(matches!(error, SpoolError::Full { most: 400, .. }), "{error}");
        let (file, _) = spool.files.front().unwrap();
        let mut bytes = std::fs::read(file).unwrap();
        bytes.extend_from_slice(b"{\"id\": 5}\n\xff\n");
        std::fs::write(file, bytes).unwrap();
        let (records, broken) = spool.oldest().await.unwrap();
        assert_eq!((records.len(), broken), (1, 2));
    }
}
