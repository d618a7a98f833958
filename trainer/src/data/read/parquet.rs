use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;

use crate::data::error::{DataError, io};
use crate::data::table::{RowSink, TableOptions, TableSummary, places};

pub(super) fn read(
    path: &Path,
    options: &TableOptions<'_>,
    mut sink: RowSink<'_>,
) -> Result<TableSummary, DataError> {
    let broken = |error: parquet::errors::ParquetError| DataError::Format {
        path: path.into(),
        format: "parquet",
        why: error.to_string(),
    };
    let file = File::open(path).map_err(io(path))?;
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let existing: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_string()).collect();
    places(path, &options.columns, &existing)?;
    let wanted = schema.get_fields().iter().filter(|field| options.columns.contains(&field.name()));
    let projection = Type::group_type_builder(schema.name()).with_fields(wanted.cloned().collect());
    let projection = projection.build().map_err(broken)?;
    for (index, row) in reader.get_row_iter(Some(projection)).map_err(broken)?.enumerate() {
        let row = row.map_err(broken)?;
        let number = index as u64 + 1;
        let value = |column: &&str| {
            let found = row.get_column_iter().find(|(name, _)| name.as_str() == *column);
            found
                .map_or(Ok(None), |(_, value)| field(value).map_err(|why| format!("column {column:?} {why}")))
        };
        match options.columns.iter().map(value).collect() {
            Ok(values) => sink.row(number, values)?,
            Err(why) => sink.broken(number, why)?,
        }
    }
    sink.finish()
}

fn field(field: &Field) -> Result<Option<String>, &'static str> {
    match field {
        Field::Null => Ok(None),
        Field::Str(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Ok(Some(text.to_string()).filter(|text| !text.is_empty())),
            Err(_) => Err("is not UTF-8"),
        },
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => Err("is not a single value"),
        number => Ok(Some(number.to_string())),
    }
}
