//! Labelled rows for a run: 70 % to learn from, 30 % for the gate.
//!
//! The side is a hash of the text, so it is the same in every run: no model was ever trained on a row that a later gate
//! asks about, and a text that was sent twice never stands on both sides.

use std::{
    collections::VecDeque,
    io::Write,
    path::{Path, PathBuf},
};

use refit_store::{LabelledQuery, LabelledRow, Store};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{SchedulerConfig, SchedulerError};

const TRAINING_PERCENT: u64 = 70;
const ROWS_A_QUERY: u32 = 1000;

/// Written last: with it the export is complete.
#[derive(Debug, Serialize, Deserialize)]
struct Exported {
    /// The last feedback that was looked at.
    through: i64,
    /// Rows to learn from.
    additional: usize,
    /// Rows for the gate.
    recent: usize,
}

#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    label: &'a str,
}

/// Where the rows to learn from are.
pub(super) fn additional(folder: &Path) -> PathBuf {
    folder.join("additional.jsonl")
}

/// Where the rows for the gate are.
pub(super) fn recent(folder: &Path) -> PathBuf {
    folder.join("recent.jsonl")
}

/// Writes both files into the run's folder, once: a second attempt learns from the same rows. The gate gets only rows
/// that arrived after `champion_through`, the last feedback that the champion's training may have seen.
pub(super) async fn export(
    store: &Store,
    config: &SchedulerConfig,
    folder: &Path,
    champion_through: i64,
) -> Result<(), SchedulerError> {
    if marker(folder).exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(SchedulerError::file("create", folder))?;
    let most = config.max_additional_rows;
    let (mut learn, mut judge) = (VecDeque::new(), VecDeque::new());
    let mut through = 0;
    loop {
        let query = LabelledQuery {
            model: config.model(),
            version: None,
            after: through,
            predicted_since: None,
            limit: ROWS_A_QUERY,
        };
        let rows = store.labelled_rows(query).await?;
        let last = rows.len() < ROWS_A_QUERY as usize;
        for row in rows {
            through = row.sequence;
            // The sampling of the inference service left its text out.
            if row.text.is_empty() {
                continue;
            }
            if to_learn_from(&row.text) {
                keep(&mut learn, row, most);
            } else if row.sequence > champion_through {
                keep(&mut judge, row, most);
            }
        }
        if last {
            break;
        }
    }
    write(&additional(folder), &learn)?;
    write(&recent(folder), &judge)?;
    let exported = Exported { through, additional: learn.len(), recent: judge.len() };
    publish(&marker(folder), &serde_json::to_vec(&exported).unwrap_or_default())
}

/// The last feedback that the run's training may have seen.
pub(super) fn through(folder: &Path) -> Result<i64, SchedulerError> {
    let path = marker(folder);
    let bytes = std::fs::read(&path).map_err(SchedulerError::file("read", &path))?;
    let exported: Exported =
        serde_json::from_slice(&bytes).map_err(|source| SchedulerError::RunFolder { path, source })?;
    Ok(exported.through)
}

fn marker(folder: &Path) -> PathBuf {
    folder.join("export.json")
}

fn keep(rows: &mut VecDeque<LabelledRow>, row: LabelledRow, most: usize) {
    rows.push_back(row);
    if rows.len() > most {
        rows.pop_front();
    }
}

fn to_learn_from(text: &str) -> bool {
    let digest = Sha256::digest(text.as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    number % 100 < TRAINING_PERCENT
}

fn write(path: &Path, rows: &VecDeque<LabelledRow>) -> Result<(), SchedulerError> {
    let mut bytes = Vec::new();
    for row in rows {
        // Writing to memory cannot fail, and two strings are always JSON.
        let _ = serde_json::to_writer(&mut bytes, &Line { text: &row.text, label: &row.label });
        bytes.push(b'\n');
    }
    publish(path, &bytes)
}

/// All or nothing, also when the disk is full or the power fails.
fn publish(path: &Path, bytes: &[u8]) -> Result<(), SchedulerError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(SchedulerError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_seventy_to_thirty_and_depends_on_the_text_alone() {
        let learn = (0..10_000).filter(|row| to_learn_from(&format!("text {row}"))).count();
        assert!((6850..7150).contains(&learn), "{learn}");
        assert_eq!(to_learn_from("a film"), to_learn_from("a film"));
    }
}
