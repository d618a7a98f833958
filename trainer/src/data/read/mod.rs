//! Files to tables. One file per format.

mod csv;
mod jsonl;
mod parquet;

use std::path::Path;

use super::error::{DataError, io};
use super::table::{Table, TableOptions};

/// Larger files are refused; rows are read into memory.
const MAX_FILE_BYTES: u64 = 16 << 30;
/// A row beyond this is a missing quote or line end, not a text.
const MAX_ROW_BYTES: usize = 16 << 20;

/// Reads the asked-for columns of a csv, tsv (also `.tab` and `.txt`: no quoting), jsonl or parquet file.
///
/// # Errors
/// When the file, a column, or every row cannot be read.
pub fn read_table(path: &Path, options: &TableOptions<'_>) -> Result<Table, DataError> {
    let size = std::fs::metadata(path).map_err(io(path))?.len();
    if size > MAX_FILE_BYTES {
        return Err(DataError::TooLarge { path: path.into(), limit: MAX_FILE_BYTES });
    }
    if size == 0 {
        return Err(DataError::Empty { path: path.into() });
    }
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("csv") => csv::read(path, csv::Dialect::Csv, options),
        Some("tsv" | "tab" | "txt") => csv::read(path, csv::Dialect::Tsv, options),
        Some("jsonl" | "ndjson") => jsonl::read(path, options),
        Some("parquet" | "pq") => parquet::read(path, options),
        _ => Err(DataError::UnknownFormat { path: path.into() }),
    }
}
