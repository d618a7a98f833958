use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;

use crate::{Store, StoreError, row::Columns};

/// A piece of work that took a while, such as a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The model.
    pub model: String,
    /// What it was: `train`, `gate`.
    pub kind: String,
    /// How it stands.
    pub status: RunStatus,
    /// Why it was started.
    pub reason: String,
    /// The version that it made.
    pub version: Option<String>,
    /// Anything else worth keeping.
    pub detail: Value,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Not finished.
    Running,
    /// Finished and did what it should.
    Succeeded,
    /// Finished and did not.
    Failed,
}

/// A run that begins.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// Its id.
    pub id: String,
    /// The model.
    pub model: String,
    /// What it is: `train`, `gate`.
    pub kind: String,
    /// Why it is started.
    pub reason: String,
}

impl RunStatus {
    /// The name used in the store and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Running, Self::Succeeded, Self::Failed].into_iter().find(|status| status.name() == name)
    }
}

impl Store {
    /// Records that a run begins. A run that is there already is left as it is.
    pub async fn start_run(&self, run: &NewRun) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO runs (id, model, kind, status, reason, started_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(&run.id)
        .bind(&run.model)
        .bind(&run.kind)
        .bind(RunStatus::Running.name())
        .bind(&run.reason)
        .bind(Timestamp::now().as_microsecond())
        .execute(self.pool())
        .await
        .map_err(self.failed("record a run"))?;
        Ok(())
    }

    /// Records how a run ended. The first end counts: a run that has ended is left as it is.
    pub async fn finish_run(
        &self,
        id: &str,
        status: RunStatus,
        version: Option<&str>,
        detail: &Value,
    ) -> Result<(), StoreError> {
        let failed = self.failed("record the end of a run");
        sqlx::query(
            "UPDATE runs SET status = ?2, version = ?3, detail = ?4, finished_at = ?5
             WHERE id = ?1 AND finished_at IS NULL",
        )
        .bind(id)
        .bind(status.name())
        .bind(version)
        .bind(detail.to_string())
        .bind(Timestamp::now().as_microsecond())
        .execute(self.pool())
        .await
        .map_err(&failed)?;
        self.run(id).await.map(|_| ())
    }

    /// One run.
    pub async fn run(&self, id: &str) -> Result<Run, StoreError> {
        let row = sqlx::query("SELECT * FROM runs WHERE id = ?1")
            .bind(id)
            .fetch_optional(self.pool())
            .await
            .map_err(self.failed("read a run"))?;
        row.as_ref().map_or_else(|| Err(StoreError::UnknownRun { id: id.into() }), read)
    }

    /// The runs of `model` that started at `since` or later, oldest first.
    pub async fn runs(&self, model: &str, since: Timestamp) -> Result<Vec<Run>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM runs WHERE model = ?1 AND started_at >= ?2 ORDER BY started_at, id")
                .bind(model)
                .bind(since.as_microsecond())
                .fetch_all(self.pool())
                .await
                .map_err(self.failed("list runs"))?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &SqliteRow) -> Result<Run, StoreError> {
    let columns = Columns(row);
    Ok(Run {
        id: columns.get("id")?,
        model: columns.get("model")?,
        kind: columns.get("kind")?,
        status: columns.named("status", RunStatus::parse)?,
        reason: columns.get("reason")?,
        version: columns.get("version")?,
        detail: columns.json("detail")?,
        started_at: columns.time("started_at")?,
        finished_at: columns.optional_time("finished_at")?,
    })
}
