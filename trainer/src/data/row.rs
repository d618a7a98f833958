use std::path::Path;

use rayon::prelude::*;
use refit_predictor::Input;
use refit_spec::{DataSpec, Missing, Task, nearest};
use serde::{Deserialize, Serialize};

use super::audit::{Audit, FindingKind, normalized};
use super::cell;
use super::error::DataError;
use super::read::{stream_table, words};
use super::split::hash;
use super::table::{TableOptions, TableRow};
use super::time;

/// Rows that are prepared at once, one a thread.
const ROWS_AT_ONCE: usize = 2048;

/// One labelled text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The text as it is in the file.
    pub text: String,
    /// The second text: of a pair, the question about the text, or a text that belongs to it.
    pub pair: Option<String>,
    /// A text that does not belong to it.
    pub negative: Option<String>,
    /// Its label, or labels or tags as the file writes them.
    pub label: String,
    /// The character where the answer begins.
    pub answer_start: Option<usize>,
    /// The value of the grouping column, if there is one.
    pub group: Option<String>,
    /// (column, value) of the slices that it belongs to.
    pub slices: Vec<(String, String)>,
    /// File and line that it comes from.
    pub origin: String,
}

impl Row {
    /// A row that comes from elsewhere than a configured file.
    pub fn new(text: impl Into<String>, label: impl Into<String>, origin: impl Into<String>) -> Self {
        let (text, label, origin) = (text.into(), label.into(), origin.into());
        Self {
            text,
            pair: None,
            negative: None,
            label,
            answer_start: None,
            group: None,
            slices: Vec::new(),
            origin,
        }
    }

    /// For a report: where it is and how it begins.
    pub(super) fn place(&self) -> String {
        let begin: String = self.text.chars().take(60).collect();
        format!("{}: {begin:?}", self.origin)
    }

    /// What duplicates share.
    pub(super) fn key(&self, spec: &DataSpec) -> u64 {
        hash(spec.split.seed, &self.normalized())
    }

    /// Its texts, white space and case aside.
    fn normalized(&self) -> String {
        let mut texts = normalized(&self.text);
        for further in [&self.pair, &self.negative].into_iter().flatten() {
            texts.push('\0');
            texts.push_str(&normalized(further));
        }
        texts
    }
}

impl<'a> From<&'a Row> for Input<'a> {
    fn from(row: &'a Row) -> Self {
        Self { text: &row.text, pair: row.pair.as_deref() }
    }
}

/// A row and what it is compared and divided by; see [`super::index::Index`].
pub(super) struct HashedRow {
    pub(super) row: Row,
    pub(super) key: u64,
    pub(super) split: Option<u64>,
    pub(super) limit: Option<u64>,
}

/// A row of the table, understood.
struct Prepared {
    line: u64,
    /// What was missing and filled.
    filled: Vec<FindingKind>,
    row: Result<HashedRow, (FindingKind, Row)>,
}

/// What a file has to have in at least one row.
#[derive(Default)]
struct Seen {
    labels: usize,
    times: usize,
}

/// Hands over the rows of one file that have what they need; the others are noted.
pub(super) fn stream_rows(
    path: &Path,
    spec: &DataSpec,
    audit: &mut Audit,
    each: &mut dyn FnMut(HashedRow) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let columns = columns(spec);
    let options = TableOptions { columns, header: spec.columns.as_deref(), broken_rows: spec.broken_rows };
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let mut seen = Seen::default();
    let mut hand_over = |rows: &mut Vec<TableRow>, audit: &mut Audit| {
        let prepared: Vec<Prepared> = rows.par_drain(..).map(|row| prepare(row, &file, spec)).collect();
        for Prepared { line, filled, row } in prepared {
            let kind = row.as_ref().err().map(|(kind, _)| *kind);
            seen.labels += usize::from(kind != Some(FindingKind::MissingLabel));
            seen.times += usize::from(kind != Some(FindingKind::MissingTime));
            match row {
                Ok(row) => {
                    for label in cell::labels(spec.task, &row.row.label) {
                        known_label(path, line, &label, spec)?;
                    }
                    filled.into_iter().for_each(|kind| audit.note(kind, || row.row.place()));
                    each(row)?;
                }
                Err((kind, row)) => {
                    refused(path, line, kind, spec)?;
                    audit.note(kind, || row.place());
                }
            }
        }
        Ok(())
    };
    let mut waiting = Vec::with_capacity(ROWS_AT_ONCE);
    let mut each_row = |row| {
        waiting.push(row);
        if waiting.len() == ROWS_AT_ONCE { hand_over(&mut waiting, audit) } else { Ok(()) }
    };
    let read = match spec.task {
        Task::TokenClassification if words::is_words(path) => words::read(path, &options, &mut each_row)?,
        _ => stream_table(path, &options, &mut each_row)?,
    };
    hand_over(&mut waiting, audit)?;
    audit.rows_read += read.rows + read.broken;
    for index in 0..read.broken {
        audit.note(FindingKind::Broken, || {
            let (line, why) = read.broken_examples.get(index).cloned().unwrap_or_default();
            format!("{file}:{line}: {why}")
        });
    }
    match &spec.split.time {
        _ if seen.labels == 0 => Err(DataError::NoLabels { path: path.into(), column: spec.label.clone() }),
        Some(column) if seen.times == 0 => {
            Err(DataError::NoTimes { path: path.into(), column: column.clone() })
        }
        _ => Ok(()),
    }
}

/// Stops at a missing value where the spec says so.
fn refused(path: &Path, line: u64, kind: FindingKind, spec: &DataSpec) -> Result<(), DataError> {
    let (what, column) = match kind {
        FindingKind::MissingText if spec.missing_text == Missing::Refuse => ("text", &spec.text),
        FindingKind::MissingLabel if spec.missing_label == Missing::Refuse => ("label", &spec.label),
        _ => return Ok(()),
    };
    Err(DataError::MissingValue { path: path.into(), line, what, column: column.clone() })
}

fn prepare(row: TableRow, file: &str, spec: &DataSpec) -> Prepared {
    let line = row.line;
    let mut values = row.values.into_iter();
    let mut filled = Vec::new();
    let text = values.next().flatten().filter(|text| !text.trim().is_empty());
    let text = text.or_else(|| fill(&spec.missing_text, FindingKind::FilledText, &mut filled));
    let no_text = text.is_none();
    let text = text.unwrap_or_default();
    let text = if spec.task == Task::TokenClassification { cell::words(&text).join(" ") } else { text };
    let label = match spec.task {
        Task::Embedding => Some(String::new()),
        _ => {
            let label = values.next().flatten().map(|label| label.trim().to_owned());
            let label = label.filter(|label| !label.is_empty());
            label.or_else(|| fill(&spec.missing_label, FindingKind::FilledLabel, &mut filled))
        }
    };
    let no_label = label.is_none();
    let mut row = Row::new(text, label.unwrap_or_default(), format!("{file}:{line}"));
    let mut further = |column: &Option<String>| column.as_ref().and_then(|_| values.next().flatten());
    row.pair = further(&spec.pair);
    row.negative = further(&spec.negative);
    let start = further(&spec.answer_start);
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
    let short = |text: &str| letters(text) < spec.min_chars.max(1);
    let lacks = |column: &Option<String>, text: &Option<String>| {
        column.is_some() && text.as_deref().is_none_or(short)
    };
    let short = short(&row.text) || lacks(&spec.pair, &row.pair) || lacks(&spec.negative, &row.negative);
    for column in &spec.slices {
        row.slices.extend(values.next().flatten().map(|value| (column.clone(), value)));
    }
    let last = values.next().flatten();
    let time = spec.split.time.as_ref().map(|_| last.as_deref().and_then(time::order));
    if spec.split.group.is_some() {
        row.group = last;
    }
    let unfit = match () {
        _ if no_label => Some(FindingKind::MissingLabel),
        _ if no_text => Some(FindingKind::MissingText),
        _ if short => Some(FindingKind::NearEmpty),
        _ if time == Some(None) => Some(FindingKind::MissingTime),
        _ => None,
    };
    if let Some(kind) = unfit {
        return Prepared { line, filled, row: Err((kind, row)) };
    }
    if let Some(why) = cell::complete(spec.task, &mut row, start.as_deref()) {
        row.origin = format!("{}: {why}", row.origin);
        return Prepared { line, filled, row: Err((FindingKind::LabelDoesNotFit, row)) };
    }
    let normalized = row.normalized();
    let seed = spec.split.seed;
    let key = hash(seed, &normalized);
    // A row without a group is a group of its own.
    let group = |_: &String| row.group.as_ref().map_or(key, |group| hash(seed, &format!("group\0{group}")));
    let split = time.flatten().or(spec.split.group.as_ref().map(group));
    // Another hash than the split's: else the limit would take the test rows first.
    let limit = spec.limit.map(|_| hash(seed, &format!("limit\0{normalized}")));
    Prepared { line, filled, row: Ok(HashedRow { row, key, split, limit }) }
}

/// The value that stands for a missing one, if there is one.
fn fill(missing: &Missing, kind: FindingKind, filled: &mut Vec<FindingKind>) -> Option<String> {
    let Missing::Fill(value) = missing else { return None };
    filled.push(kind);
    Some(value.clone())
}

/// The columns that are read, in the order in which [`prepare`] takes them.
fn columns(spec: &DataSpec) -> Vec<&str> {
    let label = (spec.task != Task::Embedding).then_some(&spec.label);
    let named = [&spec.pair, &spec.negative, &spec.answer_start].into_iter().flatten();
    let further = named.chain(&spec.slices).chain(spec.split.group.as_ref().or(spec.split.time.as_ref()));
    [&spec.text].into_iter().chain(label).chain(further).map(String::as_str).collect()
}

fn known_label(path: &Path, line: u64, label: &str, spec: &DataSpec) -> Result<(), DataError> {
    match &spec.labels {
        Some(known) if !known.iter().any(|name| name == label) => Err(DataError::UnknownLabel {
            path: path.into(),
            line,
            label: label.into(),
            known: known.clone(),
            suggestion: nearest(label, known.iter().map(String::as_str)).map(String::from),
        }),
        _ => Ok(()),
    }
}
