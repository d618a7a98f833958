use std::path::Path;

use refit_spec::{BrokenRows, nearest};

use super::error::DataError;

/// The asked-for columns of a file, as text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The rows that could be read.
    pub rows: Vec<TableRow>,
    /// How many could not.
    pub broken: usize,
    /// The first of those: line and reason.
    pub broken_examples: Vec<(u64, String)>,
}

/// What a file had, beside the rows that were handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSummary {
    /// Rows that could be read.
    pub rows: usize,
    /// How many could not.
    pub broken: usize,
    /// The first of those: line and reason.
    pub broken_examples: Vec<(u64, String)>,
}

/// One row; its values are in the order of the asked-for columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    /// Line of the file, or number of the row in parquet, from 1.
    pub line: u64,
    /// None where the row has no value: null, absent, or an empty csv field.
    pub values: Vec<Option<String>>,
}

/// What to read of a file.
#[derive(Debug, Clone)]
pub struct TableOptions<'a> {
    /// The columns to keep.
    pub columns: Vec<&'a str>,
    /// Column names of a csv or tsv file without a header line.
    pub header: Option<&'a [String]>,
    /// What becomes of rows that cannot be read.
    pub broken_rows: BrokenRows,
}

/// Examples that are kept of what is reported.
pub(super) const EXAMPLES: usize = 5;

/// Hands rows over and counts what is wrong with them.
pub(super) struct RowSink<'a> {
    path: &'a Path,
    broken_rows: BrokenRows,
    each: &'a mut dyn FnMut(TableRow) -> Result<(), DataError>,
    summary: TableSummary,
}

impl<'a> RowSink<'a> {
    pub(super) fn new(
        path: &'a Path,
        broken_rows: BrokenRows,
        each: &'a mut dyn FnMut(TableRow) -> Result<(), DataError>,
    ) -> Self {
        Self { path, broken_rows, each, summary: TableSummary::default() }
    }

    pub(super) fn row(&mut self, line: u64, values: Vec<Option<String>>) -> Result<(), DataError> {
        self.summary.rows += 1;
        (self.each)(TableRow { line, values })
    }

    pub(super) fn broken(&mut self, line: u64, why: impl Into<String>) -> Result<(), DataError> {
        let why = why.into();
        if self.broken_rows == BrokenRows::Refuse {
            return Err(DataError::BrokenRow { path: self.path.into(), line, why });
        }
        if self.summary.broken_examples.len() < EXAMPLES {
            self.summary.broken_examples.push((line, why));
        }
        self.summary.broken += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<TableSummary, DataError> {
        let path = self.path.into();
        match (self.summary.rows, self.summary.broken_examples.first()) {
            (1.., _) => Ok(self.summary),
            (0, None) => Err(DataError::Empty { path }),
            (0, Some((_, why))) => {
                Err(DataError::AllBroken { path, rows: self.summary.broken, why: why.clone() })
            }
        }
    }
}

/// Where the wanted columns are among the existing ones.
pub(super) fn places<S: AsRef<str>>(
    path: &Path,
    wanted: &[&str],
    existing: &[S],
) -> Result<Vec<usize>, DataError> {
    let place = |column: &&str| {
        existing.iter().position(|name| name.as_ref() == *column).ok_or_else(|| DataError::ColumnMissing {
            path: path.into(),
            column: column.to_string(),
            suggestion: nearest(column, existing.iter().map(AsRef::as_ref)).map(String::from),
            existing: existing.iter().map(|name| name.as_ref().into()).collect(),
        })
    };
    wanted.iter().map(place).collect()
}
