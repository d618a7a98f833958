//! Reading columns.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{Row, sqlite::SqliteRow};

use crate::StoreError;

/// A row whose columns read back as refit's types.
pub(crate) struct Columns<'a>(pub &'a SqliteRow);

impl Columns<'_> {
    pub fn get<'r, T>(&'r self, column: &'static str) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.0.try_get(column).map_err(|error| StoreError::Value { column, value: error.to_string() })
    }

    pub fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        read_time(column, self.get(column)?)
    }

    pub fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        self.get::<Option<i64>>(column)?.map(|micros| read_time(column, micros)).transpose()
    }

    pub fn json(&self, column: &'static str) -> Result<Value, StoreError> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|_| StoreError::Value { column, value: text })
    }

    /// A column that holds one of a few names.
    pub fn named<T>(&self, column: &'static str, parse: fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let text: String = self.get(column)?;
        parse(&text).ok_or(StoreError::Value { column, value: text })
    }
}

fn read_time(column: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|_| StoreError::Value { column, value: micros.to_string() })
}
