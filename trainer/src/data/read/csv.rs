use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::MAX_ROW_BYTES;
use crate::data::error::DataError;
use crate::data::table::{Table, TableBuilder, TableOptions, places};

/// How fields are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// By commas, with quotes.
    Csv,
    /// By tabs; a quote is a character like any other.
    Tsv,
}

pub(super) fn read(path: &Path, dialect: Dialect, options: &TableOptions<'_>) -> Result<Table, DataError> {
    let broken = |why: String| DataError::Format { path: path.into(), format: "csv", why };
    let mut reader = ReaderBuilder::new()
        .delimiter(if dialect == Dialect::Csv { b',' } else { b'\t' })
        .quoting(dialect == Dialect::Csv)
        .has_headers(options.header.is_none())
        .flexible(true)
        .from_path(path)
        .map_err(|error| broken(error.to_string()))?;
    let header: Vec<String> = match options.header {
        Some(header) => header.to_vec(),
        None => {
            let header = reader.byte_headers().map_err(|error| broken(error.to_string()))?;
            header.iter().map(|name| String::from_utf8_lossy(name).trim().to_string()).collect()
        }
    };
    let places = places(path, &options.columns, &header)?;
    let mut builder = TableBuilder::new(path, options.broken_rows);
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| broken(error.to_string()))? {
        let line = record.position().map_or(0, csv::Position::line);
        if record.as_slice().len() > MAX_ROW_BYTES {
            return Err(broken(format!(
                "the row at line {line} never ends: look for a quote that is not closed"
            )));
        }
        if record.len() != header.len() {
            builder.broken(line, format!("it has {} fields instead of {}", record.len(), header.len()))?;
            continue;
        }
        match places.iter().map(|&place| field(&record[place])).collect() {
            Ok(values) => builder.row(line, values),
            Err(()) => builder.broken(line, "it is not UTF-8")?,
        }
    }
    builder.finish()
}

fn field(bytes: &[u8]) -> Result<Option<String>, ()> {
    let text = std::str::from_utf8(bytes).map_err(|_| ())?;
    Ok(Some(text).filter(|text| !text.is_empty()).map(String::from))
}
