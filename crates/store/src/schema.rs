//! Bringing the file's schema up to date.
//!
//! The version lies in SQLite's `user_version`. All migrations run in one transaction that holds the write lock, so
//! processes that start together do not both run them, and a failure leaves the file as it was.

use crate::{Store, StoreError};

/// In order; a released one is never changed, only followed by another.
const MIGRATIONS: [&str; 2] =
    [include_str!("../migrations/0001_first.sql"), include_str!("../migrations/0002_shadow.sql")];

/// The schema that this code reads and writes.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

pub(crate) async fn migrate(store: &Store) -> Result<(), StoreError> {
    const OPERATION: &str = "bring the schema up to date";
    let failed = store.failed(OPERATION);
    let found: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(store.pool()).await.map_err(&failed)?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    let mut transaction = store.write(OPERATION).await?;
    let found: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await.map_err(&failed)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema {
            path: store.path().to_owned(),
            found,
            supported: SCHEMA_VERSION,
        });
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found.max(0) as usize) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(&failed)?;
        let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", index + 1));
        sqlx::raw_sql(version).execute(&mut *transaction).await.map_err(&failed)?;
    }
    transaction.commit().await.map_err(&failed)
}
