use std::io::Read;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::bounded::bounded;
use super::{BUFFER_BYTES, MAX_ROW_BYTES, failed, open};
use crate::data::error::DataError;
use crate::data::table::{RowSink, TableOptions, TableSummary, places};

/// How fields are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// By commas, with quotes.
    Csv,
    /// By tabs; a quote is a character like any other.
    Tsv,
}

pub(super) fn read(
    path: &Path,
    dialect: Dialect,
    options: &TableOptions<'_>,
    mut sink: RowSink<'_>,
) -> Result<TableSummary, DataError> {
    let (file, allowance) = bounded(open(path)?, MAX_ROW_BYTES);
    let mut reader = ReaderBuilder::new()
        .delimiter(if dialect == Dialect::Csv { b',' } else { b'\t' })
        .quoting(dialect == Dialect::Csv)
        .has_headers(options.header.is_none())
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(file);
    let never_ends = |line: u64| {
        let why = format!("the row at line {line} never ends: look for a quote that is not closed");
        DataError::Format { path: path.into(), format: "csv", why }
    };
    let broken = |error: csv::Error, line: u64| match error.into_kind() {
        csv::ErrorKind::Io(_) if allowance.is_used_up() => never_ends(line),
        csv::ErrorKind::Io(error) => failed(path, error),
        other => DataError::Format { path: path.into(), format: "csv", why: format!("{other:?}") },
    };
    let header: Vec<String> = match options.header {
        Some(header) => header.to_vec(),
        None => {
            let header = reader.byte_headers().map_err(|error| broken(error, 1))?;
            header.iter().map(|name| String::from_utf8_lossy(name).trim().to_string()).collect()
        }
    };
    let places = places(path, &options.columns, &header)?;
    let mut record = ByteRecord::new();
    let mut last = None;
    loop {
        allowance.renew();
        let line = reader.position().line();
        if !reader.read_byte_record(&mut record).map_err(|error| broken(error, line))? {
            break;
        }
        let line = record.position().map_or(line, csv::Position::line);
        last = record.position().filter(|_| record.as_slice().contains(&b'\n')).cloned();
        if record.len() != header.len() {
            sink.broken(line, format!("it has {} fields instead of {}", record.len(), header.len()))?;
            continue;
        }
        match places.iter().map(|&place| field(&record[place])).collect() {
            Ok(values) => sink.row(line, values)?,
            Err(()) => sink.broken(line, "it is not UTF-8")?,
        }
    }
    match last {
        Some(last) if dialect == Dialect::Csv && is_open(path, last.byte())? => Err(never_ends(last.line())),
        _ => sink.finish(),
    }
}

/// Whether the last row, which starts at `start` and has a field of several lines, has a quote that is not
/// closed: all that follows the quote is then one field.
fn is_open(path: &Path, start: u64) -> Result<bool, DataError> {
    let mut file = open(path)?;
    std::io::copy(&mut file.by_ref().take(start), &mut std::io::sink()).map_err(|e| failed(path, e))?;
    let mut row = Vec::new();
    file.read_to_end(&mut row).map_err(|e| failed(path, e))?;
    Ok(row.iter().filter(|&&byte| byte == b'"').count() % 2 == 1)
}

fn field(bytes: &[u8]) -> Result<Option<String>, ()> {
    let text = std::str::from_utf8(bytes).map_err(|_| ())?;
    Ok(Some(text).filter(|text| !text.is_empty()).map(String::from))
}
