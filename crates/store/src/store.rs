use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{StoreError, schema};

/// The store's file in refit's home.
pub const FILE_NAME: &str = "refit.db";

/// An open store. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    path: Arc<Path>,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How long a writer waits for another process's write lock.
    pub busy_timeout: Duration,
    /// The most that the file may grow to; writes beyond it fail with [`StoreError::Full`]. No limit by default.
    pub max_bytes: Option<u64>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(10), max_bytes: None }
    }
}

impl Store {
    /// Opens the store in `path` and brings its schema up to date; creates it, and its folder, where there is none.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, &StoreOptions::default()).await
    }

    /// [`Store::open`] with settings.
    pub async fn open_with(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let opening = |source| StoreError::Open { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| opening(source.into()))?;
        }
        let mut connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(options.busy_timeout)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit that was reported survives a power cut; in WAL mode that is one fsync a transaction.
            .synchronous(SqliteSynchronous::Full);
        if let Some(bytes) = options.max_bytes {
            connect = connect.pragma("max_page_count", (bytes / PAGE_BYTES).max(1).to_string());
        }
        let pool = SqlitePoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(options.busy_timeout + Duration::from_secs(5))
            .connect_with(connect)
            .await
            .map_err(|source| match StoreError::from_sqlx(path, "open", source) {
                StoreError::Query { source, .. } => opening(source),
                other => other,
            })?;
        let store = Self { pool, path: Arc::from(path) };
        schema::migrate(&store).await?;
        Ok(store)
    }

    /// Opens the store of a home folder.
    pub async fn open_home(home: &Path) -> Result<Self, StoreError> {
        Self::open(&home.join(FILE_NAME)).await
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the artifact of a version lies in a home folder.
    pub fn artifact_dir(home: &Path, model: &str, version: &str) -> PathBuf {
        home.join("artifacts").join(model).join(version)
    }

    /// Writes everything to the main file and closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// A transaction that holds the write lock from its start: one that began as a reader could not wait for it.
    pub(crate) async fn write(
        &self,
        operation: &'static str,
    ) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(self.failed(operation))
    }

    pub(crate) fn failed(&self, operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
        move |source| StoreError::from_sqlx(&self.path, operation, source)
    }
}

const MAX_CONNECTIONS: u32 = 4;
/// SQLite's default size of a page.
const PAGE_BYTES: u64 = 4096;
