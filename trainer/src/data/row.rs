use std::path::Path;

use refit_spec::{DataSpec, nearest};

use super::audit::{Audit, FindingKind, normalized};
use super::error::DataError;
use super::read::read_table;
use super::table::TableOptions;

/// One labelled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The text as it is in the file.
    pub text: String,
    /// Its label.
    pub label: String,
    /// The value of the grouping column, if there is one.
    pub group: Option<String>,
    /// (column, value) of the slices that it belongs to.
    pub slices: Vec<(String, String)>,
    /// File and line that it comes from.
    pub origin: String,
    /// The text, white space and case aside: what duplicates share.
    pub(super) key: String,
}

impl Row {
    /// A row that comes from elsewhere than a configured file.
    pub fn new(text: impl Into<String>, label: impl Into<String>, origin: impl Into<String>) -> Self {
        let text = text.into();
        let key = normalized(&text);
        Self { text, label: label.into(), group: None, slices: Vec::new(), origin: origin.into(), key }
    }

    /// For a report: where it is and how it begins.
    pub(super) fn place(&self) -> String {
        let begin: String = self.text.chars().take(60).collect();
        format!("{}: {begin:?}", self.origin)
    }
}

/// The rows of one file that have a text and a label; the others are noted.
pub(super) fn read_rows(path: &Path, spec: &DataSpec, audit: &mut Audit) -> Result<Vec<Row>, DataError> {
    let mut columns = vec![spec.text.as_str(), spec.label.as_str()];
    columns.extend(spec.slices.iter().map(String::as_str));
    columns.extend(spec.split.group.as_deref());
    let options = TableOptions { columns, header: spec.columns.as_deref(), broken_rows: spec.broken_rows };
    let table = read_table(path, &options)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    audit.rows_read += table.rows.len() + table.broken;
    for index in 0..table.broken {
        audit.note(FindingKind::Broken, || {
            let (line, why) = table.broken_examples.get(index).cloned().unwrap_or_default();
            format!("{file}:{line}: {why}")
        });
    }
    let mut rows = Vec::with_capacity(table.rows.len());
    let mut labelled = 0;
    for row in table.rows {
        let line = row.line;
        let mut values = row.values.into_iter();
        let (text, label) = (values.next().flatten(), values.next().flatten());
        let text = text.unwrap_or_default();
        let label = label.map(|label| label.trim().to_string()).filter(|label| !label.is_empty());
        labelled += usize::from(label.is_some());
        let mut row = Row::new(text, label.clone().unwrap_or_default(), format!("{file}:{line}"));
        let Some(label) = label else {
            audit.note(FindingKind::MissingLabel, || row.place());
            continue;
        };
        known_label(path, line, &label, spec)?;
        if row.key.chars().filter(|c| !c.is_whitespace()).count() < spec.min_chars.max(1) {
            audit.note(FindingKind::NearEmpty, || row.place());
            continue;
        }
        for column in &spec.slices {
            row.slices.extend(values.next().flatten().map(|value| (column.clone(), value)));
        }
        row.group = values.next().flatten();
        rows.push(row);
    }
    if labelled == 0 {
        return Err(DataError::NoLabels { path: path.into(), column: spec.label.clone() });
    }
    Ok(rows)
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
