//! Files to rows, one after the other: memory does not depend on the size of the file. One file per
//! format.

mod bounded;
mod csv;
mod jsonl;
mod parquet;
pub(super) mod words;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::error::{DataError, io};
use super::table::{RowSink, Table, TableOptions, TableRow, TableSummary};

/// A row beyond this is a missing quote or line end, not a text.
const MAX_ROW_BYTES: usize = 16 << 20;
/// Bytes that are read of a file at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Hands the asked-for columns of each row of a csv, tsv (also `.tab` and `.txt`: no quoting), jsonl or
/// parquet file to `each`, in order; all but parquet may be compressed, with `.gz` after their name.
///
/// # Errors
/// When the file, a column, or every row cannot be read; those of `each`.
pub fn stream_table(
    path: &Path,
    options: &TableOptions<'_>,
    each: &mut dyn FnMut(TableRow) -> Result<(), DataError>,
) -> Result<TableSummary, DataError> {
    if std::fs::metadata(path).map_err(io(path))?.len() == 0 {
        return Err(DataError::Empty { path: path.into() });
    }
    let sink = RowSink::new(path, options.broken_rows, each);
    match format(path).as_deref() {
        Some("csv") => csv::read(path, csv::Dialect::Csv, options, sink),
        Some("tsv" | "tab" | "txt") => csv::read(path, csv::Dialect::Tsv, options, sink),
        Some("jsonl" | "ndjson") => jsonl::read(path, options, sink),
        Some("parquet" | "pq") if !is_compressed(path) => parquet::read(path, options, sink),
        _ => Err(DataError::UnknownFormat { path: path.into() }),
    }
}

/// All rows at once: for files that are known to be small.
///
/// # Errors
/// As [`stream_table`].
pub fn read_table(path: &Path, options: &TableOptions<'_>) -> Result<Table, DataError> {
    let mut rows = Vec::new();
    let TableSummary { broken, broken_examples, .. } = stream_table(path, options, &mut |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok(Table { rows, broken, broken_examples })
}

/// The extension that tells the format, in small letters.
fn format(path: &Path) -> Option<String> {
    let inner = if is_compressed(path) { Path::new(path.file_stem()?) } else { path };
    Some(inner.extension()?.to_string_lossy().to_lowercase())
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

fn open(path: &Path) -> Result<Box<dyn Read>, DataError> {
    let file = File::open(path).map_err(io(path))?;
    Ok(if is_compressed(path) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// A failure while rows are read: of the disk, or of what is compressed.
fn failed(path: &Path, source: std::io::Error) -> DataError {
    if !is_compressed(path) {
        return DataError::Io { path: path.into(), source };
    }
    let why = match source.kind() {
        std::io::ErrorKind::UnexpectedEof => "it is cut off: copy or download it again".to_owned(),
        _ => source.to_string(),
    };
    DataError::Format { path: path.into(), format: "gzip", why }
}
