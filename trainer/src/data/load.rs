use std::collections::BTreeMap;

use refit_spec::{DataSpec, Source};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::audit::{Audit, without_leakage, without_repetitions};
use super::error::DataError;
use super::row::{Row, read_rows};
use super::source::{Fetch, resolve};
use super::split::{Side, position, sides};

/// Labelled rows, audited and divided.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedData {
    /// To learn from.
    pub train: Vec<Row>,
    /// To choose the best epoch on.
    pub validation: Vec<Row>,
    /// To make the final figures on.
    pub test: Vec<Row>,
    /// The labels; a label's index is its place.
    pub labels: Labels,
    /// What was left out.
    pub audit: Audit,
    /// sha256 over all kept rows: the same rows on the same sides, the same fingerprint.
    pub fingerprint: String,
    /// sha256 of every source, by its text.
    pub sources: BTreeMap<String, String>,
    /// Rows of each label on each side.
    pub balance: Vec<ClassBalance>,
}

/// The labels in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels(Vec<String>);

impl Labels {
    /// The labels in this order.
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Their names.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Place of a label.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|label| label == name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Rows of one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassBalance {
    /// The label.
    pub label: String,
    /// Rows to learn from.
    pub train: usize,
    /// Rows for validation.
    pub validation: usize,
    /// Rows for test.
    pub test: usize,
}

/// Fetches, reads, audits and divides the rows that `[data]` describes.
///
/// # Errors
/// One clear sentence for each thing that can be wrong with data; see [`DataError`].
pub fn load_dataset(spec: &DataSpec, fetch: &Fetch<'_>) -> Result<LoadedData, DataError> {
    let mut audit = Audit::default();
    let mut sources = BTreeMap::new();
    let mut part = |source: &Source, audit: &mut Audit| {
        let resolved = resolve(source, fetch)?;
        sources.insert(source.to_string(), resolved.sha256);
        let rows = without_repetitions(read_rows(&resolved.path, spec, audit)?, audit);
        Ok::<_, DataError>((limited(rows, spec), resolved.path))
    };
    let (train, train_path) = part(&spec.train, &mut audit)?;
    let mut held_out = |source: &Option<Source>, audit: &mut Audit| {
        source.as_ref().map(|source| part(source, audit).map(|(rows, _)| rows)).transpose()
    };
    let test = held_out(&spec.test, &mut audit)?;
    let validation = held_out(&spec.validation, &mut audit)?;

    let validation =
        validation.map(|rows| without_leakage(rows, &[test.as_deref().unwrap_or(&[])], &mut audit));
    let elsewhere = [test.as_deref().unwrap_or(&[]), validation.as_deref().unwrap_or(&[])];
    let train = without_leakage(train, &elsewhere, &mut audit);
    let labels = labels_of(&train, spec);
    if let [only] = labels.names() {
        return Err(DataError::OneLabel { path: train_path, label: only.clone() });
    }

    // A side with a file of its own takes no share of the training rows.
    let mut split = spec.split.clone();
    split.test = if test.is_some() { 0.0 } else { split.test };
    split.validation = if validation.is_some() { 0.0 } else { split.validation };
    let mut parts: BTreeMap<Side, Vec<Row>> = BTreeMap::new();
    for (side, row) in sides(&train, &split).into_iter().zip(train) {
        parts.entry(side).or_default().push(row);
    }
    let mut take = |side| parts.remove(&side).unwrap_or_default();
    let mut data = LoadedData {
        train: take(Side::Train),
        validation: validation.unwrap_or_else(|| take(Side::Validation)),
        test: test.unwrap_or_else(|| take(Side::Test)),
        labels,
        audit,
        fingerprint: String::new(),
        sources,
        balance: Vec::new(),
    };
    data.check_labels()?;
    let parts = [("training", &data.train), ("validation", &data.validation), ("test", &data.test)];
    if let Some((part, _)) = parts.into_iter().find(|(_, rows)| rows.is_empty()) {
        return Err(DataError::PartEmpty { part });
    }
    data.summarize();
    Ok(data)
}

impl LoadedData {
    /// Adds rows that came later, such as feedback. A label that was not there before is appended, so
    /// the others keep their index. The share of validation goes there, the rest to train; the test
    /// rows stay what they are, and added rows that repeat a held-out text are left out.
    pub fn add_rows(&mut self, rows: Vec<Row>, spec: &DataSpec) {
        self.audit.rows_read += rows.len();
        let rows = without_repetitions(rows, &mut self.audit);
        let rows = without_leakage(rows, &[&self.test, &self.validation], &mut self.audit);
        let mut names: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let new: Vec<String> =
            names.into_iter().filter(|name| self.labels.index(name).is_none()).map(String::from).collect();
        self.labels.0.extend(new);
        // The newest word about a text counts: what was in train before makes room.
        let replaced: std::collections::HashSet<String> = rows.iter().map(|row| row.key.clone()).collect();
        self.train.retain(|row| !replaced.contains(&row.key));
        for row in rows {
            let validation = position(spec.split.seed, &row.key) < spec.split.validation;
            if validation { self.validation.push(row) } else { self.train.push(row) }
        }
        self.summarize();
    }

    /// Held-out rows with a label that no training row has could never be answered.
    fn check_labels(&self) -> Result<(), DataError> {
        for row in self.validation.iter().chain(&self.test) {
            if self.labels.index(&row.label).is_none() {
                let (file, line) = row.origin.rsplit_once(':').unwrap_or((&row.origin, "0"));
                return Err(DataError::UnknownLabel {
                    path: file.into(),
                    line: line.parse().unwrap_or(0),
                    label: row.label.clone(),
                    known: self.labels.0.clone(),
                    suggestion: None,
                });
            }
        }
        Ok(())
    }

    fn summarize(&mut self) {
        let parts = [&self.train, &self.validation, &self.test];
        self.audit.rows_kept = parts.iter().map(|rows| rows.len()).sum();
        let count = |rows: &[Row], label: &str| rows.iter().filter(|row| row.label == label).count();
        let balance = |label: &String| ClassBalance {
            label: label.clone(),
            train: count(&self.train, label),
            validation: count(&self.validation, label),
            test: count(&self.test, label),
        };
        self.balance = self.labels.0.iter().map(balance).collect();
        let mut hasher = Sha256::new();
        for (part, rows) in ["train", "validation", "test"].into_iter().zip(parts) {
            for row in rows {
                for field in [part, &row.text, &row.label] {
                    hasher.update((field.len() as u64).to_le_bytes());
                    hasher.update(field.as_bytes());
                }
            }
        }
        self.fingerprint = hex::encode(hasher.finalize());
    }
}

/// The rows with the lowest hashes, in the order of the file: more rows contain fewer rows.
fn limited(rows: Vec<Row>, spec: &DataSpec) -> Vec<Row> {
    let Some(limit) = spec.limit.filter(|&limit| limit < rows.len()) else { return rows };
    // Another hash than the split's: else the limit would take the test rows first.
    let place = |row: &Row| position(spec.split.seed, &format!("limit\0{}", row.key));
    let mut places: Vec<f64> = rows.iter().map(place).collect();
    places.sort_by(f64::total_cmp);
    let last = places[limit];
    rows.into_iter().filter(|row| place(row) < last).collect()
}

fn labels_of(rows: &[Row], spec: &DataSpec) -> Labels {
    if let Some(labels) = &spec.labels {
        return Labels(labels.clone());
    }
    let mut names: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    names.sort();
    names.dedup();
    Labels(names)
}
