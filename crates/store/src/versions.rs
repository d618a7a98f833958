use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;

use crate::{Store, StoreError, row::Columns};

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// The model's name.
    pub model: String,
    /// The version: `1`, `2`, ...
    pub version: String,
    /// Where it stands.
    pub status: VersionStatus,
    /// The artifact's folder; absent until training has finished.
    pub artifact: Option<PathBuf>,
    /// The run that made it.
    pub run_id: Option<String>,
    /// The version that training began with.
    pub parent: Option<String>,
    /// Figures worth showing in a list.
    pub metrics: Value,
    /// When the number was given.
    pub created_at: Timestamp,
}

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionStatus {
    /// It has its number; training has not finished.
    Reserved,
    /// Trained and registered, never served as champion.
    Candidate,
    /// It was, or is, the champion.
    Promoted,
    /// The gate found it worse.
    Rejected,
    /// It was taken back while serving.
    RolledBack,
    /// Training failed.
    Failed,
}

/// What training made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVersion {
    /// The model's name.
    pub model: String,
    /// The version, usually from [`Store::reserve_version`].
    pub version: String,
    /// The artifact's folder.
    pub artifact: PathBuf,
    /// The run that made it.
    pub run_id: Option<String>,
    /// The version that training began with.
    pub parent: Option<String>,
    /// Figures worth showing in a list.
    pub metrics: Value,
}

impl VersionStatus {
    const ALL: [Self; 6] =
        [Self::Reserved, Self::Candidate, Self::Promoted, Self::Rejected, Self::RolledBack, Self::Failed];

    /// The name used in the store and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Candidate => "candidate",
            Self::Promoted => "promoted",
            Self::Rejected => "rejected",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl Store {
    /// The next free version number of `model`, kept for `run_id`: the same run always gets the same number.
    pub async fn reserve_version(&self, model: &str, run_id: &str) -> Result<String, StoreError> {
        let failed = self.failed("reserve a version");
        let mut transaction = self.write("reserve a version").await?;
        let reserved: Option<String> =
            sqlx::query_scalar("SELECT version FROM versions WHERE model = ?1 AND run_id = ?2")
                .bind(model)
                .bind(run_id)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(&failed)?;
        if let Some(version) = reserved {
            return Ok(version);
        }
        // Versions that are not numbers count as 0.
        let last: i64 = sqlx::query_scalar(
            "SELECT COALESCE(MAX(CAST(version AS INTEGER)), 0) FROM versions WHERE model = ?1",
        )
        .bind(model)
        .fetch_one(&mut *transaction)
        .await
        .map_err(&failed)?;
        let version = (last + 1).to_string();
        sqlx::query(
            "INSERT INTO versions (model, version, run_id, status, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(model)
        .bind(&version)
        .bind(run_id)
        .bind(VersionStatus::Reserved.name())
        .bind(Timestamp::now().as_microsecond())
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        transaction.commit().await.map_err(&failed)?;
        Ok(version)
    }

    /// Registers a finished version as a candidate. Registering the same version with the same artifact again
    /// changes nothing; with another artifact it is [`StoreError::VersionTaken`].
    pub async fn register_version(&self, new: &NewVersion) -> Result<(), StoreError> {
        let failed = self.failed("register a version");
        let artifact = new.artifact.to_string_lossy();
        let mut transaction = self.write("register a version").await?;
        let done = sqlx::query(
            "INSERT INTO versions (model, version, run_id, artifact, status, parent, metrics, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (model, version) DO UPDATE SET artifact = ?4, status = ?5, parent = ?6, metrics = ?7
             WHERE versions.artifact IS NULL AND versions.run_id IS ?3",
        )
        .bind(&new.model)
        .bind(&new.version)
        .bind(&new.run_id)
        .bind(&*artifact)
        .bind(VersionStatus::Candidate.name())
        .bind(&new.parent)
        .bind(new.metrics.to_string())
        .bind(Timestamp::now().as_microsecond())
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        if done.rows_affected() == 0 {
            let present: Option<String> =
                sqlx::query_scalar("SELECT artifact FROM versions WHERE model = ?1 AND version = ?2")
                    .bind(&new.model)
                    .bind(&new.version)
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(&failed)?;
            if present.as_deref() != Some(&*artifact) {
                return Err(StoreError::VersionTaken {
                    model: new.model.clone(),
                    version: new.version.clone(),
                });
            }
        }
        transaction.commit().await.map_err(&failed)
    }

    /// Changes where a version stands.
    pub async fn set_version_status(
        &self,
        model: &str,
        version: &str,
        status: VersionStatus,
    ) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE versions SET status = ?3 WHERE model = ?1 AND version = ?2")
            .bind(model)
            .bind(version)
            .bind(status.name())
            .execute(self.pool())
            .await
            .map_err(self.failed("set a version's status"))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::UnknownVersion { model: model.into(), version: version.into() });
        }
        Ok(())
    }

    /// One version.
    pub async fn version(&self, model: &str, version: &str) -> Result<Version, StoreError> {
        sqlx::query("SELECT * FROM versions WHERE model = ?1 AND version = ?2")
            .bind(model)
            .bind(version)
            .fetch_optional(self.pool())
            .await
            .map_err(self.failed("read a version"))?
            .map(|row| read(&row))
            .transpose()?
            .ok_or_else(|| StoreError::UnknownVersion { model: model.into(), version: version.into() })
    }

    /// The versions of one model, or of all, in the order of their numbers.
    pub async fn versions(&self, model: Option<&str>) -> Result<Vec<Version>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM versions WHERE ?1 IS NULL OR model = ?1
             ORDER BY model, CAST(version AS INTEGER), created_at",
        )
        .bind(model)
        .fetch_all(self.pool())
        .await
        .map_err(self.failed("list versions"))?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &SqliteRow) -> Result<Version, StoreError> {
    let columns = Columns(row);
    Ok(Version {
        model: columns.get("model")?,
        version: columns.get("version")?,
        status: columns.named("status", VersionStatus::parse)?,
        artifact: columns.get::<Option<String>>("artifact")?.map(PathBuf::from),
        run_id: columns.get("run_id")?,
        parent: columns.get("parent")?,
        metrics: columns.json("metrics")?,
        created_at: columns.time("created_at")?,
    })
}
