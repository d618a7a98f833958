use std::path::Path;

use refit_spec::BrokenRows;

use super::error::DataError;
use super::read::read_table;
use super::row::Row;
use super::table::TableOptions;

/// Rows `{"text": ..., "label": ...}`, one a line, such as the scheduler writes from feedback.
///
/// # Errors
/// Every line has to be whole: these rows come from a program.
pub fn read_labelled_jsonl(path: &Path) -> Result<Vec<Row>, DataError> {
    let options =
        TableOptions { columns: vec!["text", "label"], header: None, broken_rows: BrokenRows::Refuse };
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let row = |row: super::table::TableRow| {
        let mut values = row.values.into_iter().map(|value| value.filter(|value| !value.trim().is_empty()));
        match (values.next().flatten(), values.next().flatten()) {
            (Some(text), Some(label)) => Ok(Row::new(text, label.trim(), format!("{file}:{}", row.line))),
            (None, _) => {
                Err(DataError::BrokenRow { path: path.into(), line: row.line, why: "it has no text".into() })
            }
            (_, None) => {
                Err(DataError::BrokenRow { path: path.into(), line: row.line, why: "it has no label".into() })
            }
        }
    };
    read_table(path, &options)?.rows.into_iter().map(row).collect()
}
