use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::{BUFFER_BYTES, MAX_ROW_BYTES, failed, open};
use crate::data::error::DataError;
use crate::data::table::{RowSink, TableOptions, TableSummary, places};

/// One JSON object a line. A key that no line has is a missing column; one that only some lines have
/// is a missing value in the others.
pub(super) fn read(
    path: &Path,
    options: &TableOptions<'_>,
    mut sink: RowSink<'_>,
) -> Result<TableSummary, DataError> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, open(path)?);
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let (mut bytes, mut line) = (Vec::new(), 0);
    loop {
        bytes.clear();
        line += 1;
        let limit = MAX_ROW_BYTES as u64 + 1;
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut bytes);
        if read.map_err(|error| failed(path, error))? == 0 {
            break;
        }
        if bytes.len() > MAX_ROW_BYTES {
            let why = format!("line {line} is longer than {MAX_ROW_BYTES} bytes");
            return Err(DataError::Format { path: path.into(), format: "jsonl", why });
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| line == 1).unwrap_or(&bytes);
        if text.trim_ascii().is_empty() {
            continue;
        }
        match object(text) {
            Ok(object) => {
                let values =
                    options.columns.iter().map(|column| object.get(*column).and_then(field)).collect();
                // A bounded set: it only has to tell which columns there are.
                if seen.len() < 1000 {
                    for key in object.keys().filter(|key| !seen.contains(key.as_str())).collect::<Vec<_>>() {
                        seen.insert(key.clone());
                    }
                }
                sink.row(line, values)?;
            }
            Err(why) => sink.broken(line, why)?,
        }
    }
    let summary = sink.finish()?;
    let existing: Vec<_> = seen.into_iter().collect();
    places(path, &options.columns, &existing)?;
    Ok(summary)
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())?;
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it is not a JSON object".into()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

fn field(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}
