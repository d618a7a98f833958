use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use refit_spec::{DataSpec, Source, Task, nearest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::audit::{Audit, without_leakage, without_repetitions};
use super::cell;
use super::error::DataError;
use super::index::{Index, LabelNames};
use super::near::without_near_leakage;
use super::row::{Row, stream_rows};
use super::source::{Fetch, Progress, resolve};
use super::split::{Side, position, sides};
use crate::spool::{Spool, Spooled};

/// Rows on disk; few of them are in memory.
pub type Rows = Spooled<Row>;

/// Labelled rows, audited and divided.
#[derive(Debug, Clone)]
pub struct LoadedData {
    /// To learn from.
    pub train: Rows,
    /// To choose the best epoch on.
    pub validation: Rows,
    /// To make the final figures on.
    pub test: Rows,
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
/// Every file is read once, row by row; the rows go to a file in the cache, and some twenty bytes of each
/// stay in memory.
///
/// # Errors
/// One clear sentence for each thing that can be wrong with data; see [`DataError`].
pub fn load_dataset(spec: &DataSpec, fetch: &Fetch<'_>) -> Result<LoadedData, DataError> {
    let mut loader = Loader::new(spec, fetch);
    let (mut train, train_path) = loader.file(&spec.train)?;
    let test = spec.test.as_ref().map(|source| loader.file(source)).transpose()?.map(|(rows, _)| rows);
    let validation = spec.validation.as_ref().map(|source| loader.file(source)).transpose()?;
    let mut validation = validation.map(|(rows, _)| rows);

    let Loader { spool, audit, names, .. } = &mut loader;
    if let (Some(validation), Some(test)) = (&mut validation, &test) {
        without_leakage(validation, &[test], spool, audit)?;
    }
    let elsewhere: Vec<&Index> = test.iter().chain(&validation).collect();
    without_leakage(&mut train, &elsewhere, spool, audit)?;
    let labels = labels_of(&train, names, spec);
    if let ([only], true) = (labels.names(), spec.task.fewest_labels() > 1) {
        return Err(DataError::OneLabel { path: train_path, label: only.clone() });
    }

    // A side with a file of its own takes no share of the training rows.
    let mut split = spec.split.clone();
    split.test = if test.is_some() { 0.0 } else { split.test };
    split.validation = if validation.is_some() { 0.0 } else { split.validation };
    let sides = sides(&train, &split);
    train.splits = Vec::new();
    train.limits = Vec::new();
    let take = |side| train.select(|row| sides[row] == side);
    let validation = validation.unwrap_or_else(|| take(Side::Validation));
    let test = test.unwrap_or_else(|| take(Side::Test));
    let mut train = take(Side::Train);
    without_near_leakage(&mut train, &[&test, &validation], spool, spec, audit)?;
    check_labels(&[&validation, &test], &labels, names, spec, spool)?;
    let parts = [("training", &train), ("validation", &validation), ("test", &test)];
    if let Some((part, _)) = parts.into_iter().find(|(_, rows)| rows.len() == 0) {
        return Err(DataError::PartEmpty { part });
    }
    let [train, validation, test] = [train, validation, test].map(|part| part.rows(spool));
    let Loader { audit, sources, .. } = loader;
    let (fingerprint, balance) = (String::new(), Vec::new());
    let mut data = LoadedData { train, validation, test, labels, audit, fingerprint, sources, balance };
    data.summarize(spec.task)?;
    Ok(data)
}

/// The rows that `data.reference` names, if it does: what a model should not forget.
///
/// # Errors
/// Those of reading the file.
pub fn load_reference(spec: &DataSpec, fetch: &Fetch<'_>) -> Result<Option<Vec<Row>>, DataError> {
    let Some(source) = &spec.reference else { return Ok(None) };
    let mut loader = Loader::new(spec, fetch);
    let (index, _) = loader.file(source)?;
    index.rows(&loader.spool).to_vec().map(Some)
}

/// What the files of one dataset share.
struct Loader<'a> {
    spec: &'a DataSpec,
    fetch: &'a Fetch<'a>,
    spool: Arc<Spool<Row>>,
    names: LabelNames,
    audit: Audit,
    sources: BTreeMap<String, String>,
}

impl<'a> Loader<'a> {
    fn new(spec: &'a DataSpec, fetch: &'a Fetch<'a>) -> Self {
        let spool = Arc::new(Spool::new(&fetch.cache.join("rows"), fetch.in_memory));
        let (names, audit, sources) = (LabelNames::default(), Audit::default(), BTreeMap::new());
        Self { spec, fetch, spool, names, audit, sources }
    }

    /// The rows of one file, without repetitions.
    fn file(&mut self, source: &Source) -> Result<(Index, PathBuf), DataError> {
        let resolved = resolve(source, self.fetch)?;
        self.sources.insert(source.to_string(), resolved.sha256);
        let Self { spec, spool, names, audit, fetch, .. } = self;
        let mut index = Index::default();
        let (what, before) = (format!("rows of {source}"), audit.rows_read);
        stream_rows(&resolved.path, spec, audit, &mut |row| {
            index.places.push(spool.push(&row.row)?);
            index.keys.push(row.key);
            index.labels.push(names.number(&row.row.label));
            index.splits.extend(row.split);
            index.limits.extend(row.limit);
            if index.len().is_multiple_of(50_000) {
                let done = index.len() as u64;
                (fetch.progress)(Progress { what: what.clone(), done, total: None });
            }
            Ok(())
        })?;
        let is_date = |time: &u64| time & 1 == 1;
        if let (Some(column), true) = (&spec.split.time, index.splits.iter().any(is_date))
            && !index.splits.iter().all(is_date)
        {
            return Err(DataError::MixedTimes { path: resolved.path, column: column.clone() });
        }
        without_repetitions(&mut index, spool, audit)?;
        limit(&mut index, spec);
        if index.len() == 0 {
            let why: Vec<String> =
                audit.findings.iter().map(|f| format!("{} {}", f.rows, f.kind.name())).collect();
            let (rows, why) = (audit.rows_read - before, why.join(", "));
            return Err(DataError::AllLeftOut { path: resolved.path, rows, why });
        }
        Ok((index, resolved.path))
    }
}

impl LoadedData {
    /// Adds rows that came later, such as feedback. A label that was not there before is appended, so
    /// the others keep their index. The share of validation goes there, the rest to train; the test
    /// rows stay what they are, and added rows that repeat a held-out text are left out.
    ///
    /// # Errors
    /// When the rows on disk cannot be read or written.
    pub fn add_rows(&mut self, rows: Vec<Row>, spec: &DataSpec) -> Result<(), DataError> {
        self.audit.rows_read += rows.len();
        let spool = Arc::new(Spool::new(&std::env::temp_dir(), usize::MAX));
        let (mut names, mut added) = (LabelNames::default(), Index::default());
        for row in &rows {
            added.places.push(spool.push(row)?);
            added.keys.push(row.key(spec));
            added.labels.push(names.number(&row.label));
        }
        without_repetitions(&mut added, &spool, &mut self.audit)?;
        let held_out = Index { keys: keys(&self.test, spec)?, ..Index::default() };
        let chosen = Index { keys: keys(&self.validation, spec)?, ..Index::default() };
        without_leakage(&mut added, &[&held_out, &chosen], &spool, &mut self.audit)?;
        let cells = added.labels.iter().map(|&label| &names.names[label as usize]);
        let mut new: Vec<String> = cells.flat_map(|cell| cell::labels(spec.task, cell)).collect();
        new.sort_unstable();
        new.dedup();
        new.retain(|name| self.labels.index(name).is_none());
        self.labels.0.extend(new);
        // The newest word about a text counts: what was in train before makes room.
        let replaced: HashSet<u64> = added.keys.iter().copied().collect();
        let before = keys(&self.train, spec)?;
        self.train.retain(|row| !replaced.contains(&before[row]));
        for (&place, &key) in added.places.iter().zip(&added.keys) {
            let validation = position(key) < spec.split.validation;
            let part = if validation { &mut self.validation } else { &mut self.train };
            part.push(&spool.get(place)?)?;
        }
        self.summarize(spec.task)
    }

    /// Counts and hashes what there is.
    fn summarize(&mut self, task: Task) -> Result<(), DataError> {
        let parts = [("train", &self.train), ("validation", &self.validation), ("test", &self.test)];
        self.audit.rows_kept = parts.iter().map(|(_, rows)| rows.len()).sum();
        let mut hasher = Sha256::new();
        let mut counts: [HashMap<String, usize>; 3] = Default::default();
        for ((part, rows), counts) in parts.into_iter().zip(&mut counts) {
            for row in rows.iter() {
                let row = row?;
                let further = [row.pair.as_deref(), row.negative.as_deref()].into_iter().flatten();
                for field in [part, &row.text, &row.label].into_iter().chain(further) {
                    hasher.update((field.len() as u64).to_le_bytes());
                    hasher.update(field.as_bytes());
                }
                let mut labels = cell::labels(task, &row.label);
                labels.sort_unstable();
                labels.dedup();
                for label in labels {
                    *counts.entry(label).or_default() += 1;
                }
            }
        }
        let balance = |label: &String| {
            let [train, validation, test] =
                [0, 1, 2].map(|part: usize| counts[part].get(label).copied().unwrap_or(0));
            ClassBalance { label: label.clone(), train, validation, test }
        };
        self.balance = self.labels.0.iter().map(balance).collect();
        self.fingerprint = hex::encode(hasher.finalize());
        Ok(())
    }
}

fn keys(rows: &Rows, spec: &DataSpec) -> Result<Vec<u64>, DataError> {
    rows.iter().map(|row| Ok(row?.key(spec))).collect()
}

/// Held-out rows with a label that no training row has could never be answered.
fn check_labels(
    held_out: &[&Index],
    labels: &Labels,
    names: &LabelNames,
    spec: &DataSpec,
    spool: &Spool<Row>,
) -> Result<(), DataError> {
    let unknown =
        |cell: &String| cell::labels(spec.task, cell).into_iter().find(|label| labels.index(label).is_none());
    let unknown: Vec<Option<String>> = names.names.iter().map(unknown).collect();
    for rows in held_out {
        let Some(at) = rows.labels.iter().position(|&label| unknown[label as usize].is_some()) else {
            continue;
        };
        let label = unknown[rows.labels[at] as usize].clone().unwrap_or_default();
        let row = spool.get(rows.places[at])?;
        let (file, line) = row.origin.rsplit_once(':').unwrap_or((&row.origin, "0"));
        return Err(DataError::UnknownLabel {
            path: file.into(),
            line: line.parse().unwrap_or(0),
            suggestion: nearest(&label, labels.0.iter().map(String::as_str)).map(String::from),
            label,
            known: labels.0.clone(),
        });
    }
    Ok(())
}

/// Keeps the rows with the lowest hashes, in the order of the file: more rows contain fewer rows.
fn limit(rows: &mut Index, spec: &DataSpec) {
    let Some(limit) = spec.limit.filter(|&limit| limit < rows.len()) else { return };
    let mut sorted: Vec<u64> = rows.limits.iter().map(|hash| hash >> 11).collect();
    sorted.sort_unstable();
    let kept: Vec<bool> = rows.limits.iter().map(|hash| hash >> 11 < sorted[limit]).collect();
    rows.keep(&kept);
}

fn labels_of(rows: &Index, names: &LabelNames, spec: &DataSpec) -> Labels {
    if let Some(labels) = &spec.labels {
        return Labels(labels.clone());
    }
    let mut met = vec![false; names.names.len()];
    rows.labels.iter().for_each(|&label| met[label as usize] = true);
    let met = names.names.iter().zip(met).filter(|(_, met)| *met);
    let mut names: Vec<String> = met.flat_map(|(cell, _)| cell::labels(spec.task, cell)).collect();
    names.sort();
    names.dedup();
    Labels(names)
}
