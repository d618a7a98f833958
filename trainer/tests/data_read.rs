//! Files to tables: formats, and what is said of files that are wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::writer::SerializedFileWriter;
use refit_spec::BrokenRows;
use refit_trainer::data::{DataError, Table, TableOptions, read_table};
use tempfile::TempDir;

fn written(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn options<'a>(columns: &[&'a str]) -> TableOptions<'a> {
    TableOptions { columns: columns.to_vec(), header: None, broken_rows: BrokenRows::Skip }
}

fn read(name: &str, bytes: &[u8]) -> Result<Table, DataError> {
    let (_folder, path) = written(name, bytes);
    read_table(&path, &options(&["text", "label"]))
}

/// The rows as `line|text|label`, a dash for no value.
fn shown(table: &Table) -> Vec<String> {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    table
        .rows
        .iter()
        .map(|row| format!("{}|{}|{}", row.line, value(&row.values[0]), value(&row.values[1])))
        .collect()
}

#[test]
fn csv_with_quotes_lines_and_other_columns() {
    let table =
        read("a.csv", b"\xef\xbb\xbfid,label, text\n1,pos,\"a, \"\"b\"\"\nc\"\n2,,d\n3,neg,\n").unwrap();
    assert_eq!(shown(&table), ["2|a, \"b\"\nc|pos", "4|d|-", "5|-|neg"]);
}

#[test]
fn tsv_takes_quotes_as_they_are_and_a_header_from_the_options() {
    let (_folder, path) = written("a.txt", b"1\t0.5\t\"so\" good\n2\t-1\tbad \"\n");
    let header: Vec<String> = ["id", "label", "text"].map(String::from).to_vec();
    let table =
        read_table(&path, &TableOptions { header: Some(&header), ..options(&["text", "label"]) }).unwrap();
    assert_eq!(shown(&table), ["1|\"so\" good|0.5", "2|bad \"|-1"]);
}

#[test]
fn jsonl_with_numbers_nulls_and_blank_lines() {
    let table =
        read("a.jsonl", b"{\"text\":\"a\",\"label\":1}\n\n{\"text\":null,\"label\":true}\n{\"text\":\"c\"}")
            .unwrap();
    assert_eq!(shown(&table), ["1|a|1", "3|-|true", "4|c|-"]);
}

fn parquet_file(path: &Path) {
    let schema = "message rows { required binary text (UTF8); optional int32 label; }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let mut writer =
        SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let texts: Vec<ByteArray> = ["a", "b", "c"].iter().map(|text| ByteArray::from(*text)).collect();
    column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int32Type>().write_batch(&[3, 5], Some(&[1, 0, 1]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_and_a_truncated_one() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    parquet_file(&path);
    let table = read_table(&path, &options(&["text", "label"])).unwrap();
    assert_eq!(shown(&table), ["1|a|3", "2|b|-", "3|c|5"]);
    let bytes = fs::read(&path).unwrap();
    for length in [bytes.len() - 5, bytes.len() / 2, 3] {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = read_table(&path, &options(&["text", "label"])).unwrap_err();
        assert!(matches!(error, DataError::Format { format: "parquet", .. }), "{error}");
    }
}

#[test]
fn broken_rows_are_counted_with_their_line_or_refused() {
    let csv: &[u8] = b"text,label\ngood,1\nbr\xff\xfeken,0\nshort\nfine,0\n";
    let table = read("a.csv", csv).unwrap();
    assert_eq!(shown(&table), ["2|good|1", "5|fine|0"]);
    assert_eq!(table.broken, 2);
    assert_eq!(table.broken_examples[0], (3, "it is not UTF-8".into()));
    assert_eq!(table.broken_examples[1], (4, "it has 1 fields instead of 2".into()));

    let (_folder, path) = written("a.csv", csv);
    let refuse = TableOptions { broken_rows: BrokenRows::Refuse, ..options(&["text", "label"]) };
    let error = read_table(&path, &refuse).unwrap_err().to_string();
    assert!(error.starts_with("line 3 of ") && error.contains("not UTF-8"), "{error}");

    let table =
        read("a.jsonl", b"{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\n[1]\n{\"text\":\"\xff\"}\n").unwrap();
    assert_eq!((table.rows.len(), table.broken), (1, 3));
    assert_eq!(table.broken_examples.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn a_missing_column_names_the_existing_ones_and_the_nearest() {
    for (name, bytes) in [
        ("a.csv", &b"id,Text,labels\n1,a,b\n"[..]),
        ("a.jsonl", b"{\"Text\":\"a\",\"labels\":\"b\",\"id\":1}"),
    ] {
        let error = read(name, bytes).unwrap_err();
        let DataError::ColumnMissing { column, suggestion, existing, .. } = &error else { panic!("{error}") };
        assert_eq!((column.as_str(), suggestion.as_deref(), existing.len()), ("text", Some("Text"), 3));
        assert!(error.to_string().contains("did you mean \"Text\"?"), "{error}");
    }
}

#[test]
fn empty_files() {
    for (name, bytes) in [("a.csv", &b""[..]), ("a.csv", b"text,label\n"), ("a.jsonl", b"\n\n")] {
        let error = read(name, bytes).unwrap_err();
        assert!(matches!(error, DataError::Empty { .. }), "{error}");
    }
    let error = read("a.csv", b"text,label\nx\ny\n").unwrap_err();
    assert!(matches!(error, DataError::AllBroken { rows: 2, .. }), "{error}");
}

#[test]
fn an_unknown_format_and_a_missing_file() {
    assert!(matches!(read("a.xls", b"x").unwrap_err(), DataError::UnknownFormat { .. }));
    let error = read_table(Path::new("/nowhere/a.csv"), &options(&[])).unwrap_err();
    assert!(matches!(error, DataError::FileMissing { .. }), "{error}");
}

#[test]
fn a_quote_that_is_never_closed_is_found() {
    let mut csv = b"text,label\n\"a,b\n".to_vec();
    csv.resize(csv.len() + (17 << 20), b'x');
    let error = read("a.csv", &csv).unwrap_err();
    assert!(error.to_string().contains("line 2") && error.to_string().contains("quote"), "{error}");
}
