use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;

use crate::{Store, StoreError, row::Columns};

/// What a window of observations said about drift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftSnapshot {
    /// Its place in the order of all snapshots.
    pub sequence: i64,
    /// The model.
    pub model: String,
    /// The version that was watched.
    pub version: String,
    /// Observations in the window.
    pub observations: u64,
    /// Whether any feature had drifted.
    pub drifted: bool,
    /// The verdict of every feature.
    pub features: Value,
    /// When.
    pub taken_at: Timestamp,
}

/// A snapshot to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDriftSnapshot {
    /// The model.
    pub model: String,
    /// The version that was watched.
    pub version: String,
    /// Observations in the window.
    pub observations: u64,
    /// Whether any feature has drifted.
    pub drifted: bool,
    /// The verdict of every feature.
    pub features: Value,
}

impl Store {
    /// Records a snapshot.
    pub async fn record_drift(&self, snapshot: &NewDriftSnapshot) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO drift_snapshots (model, version, observations, drifted, features, taken_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(&snapshot.model)
        .bind(&snapshot.version)
        .bind(i64::try_from(snapshot.observations).unwrap_or(i64::MAX))
        .bind(snapshot.drifted)
        .bind(snapshot.features.to_string())
        .bind(Timestamp::now().as_microsecond())
        .execute(self.pool())
        .await
        .map_err(self.failed("record a drift snapshot"))?;
        Ok(())
    }

    /// The last `limit` snapshots of a version (of any if `None`), oldest first.
    pub async fn drift_snapshots(
        &self,
        model: &str,
        version: Option<&str>,
        limit: u32,
    ) -> Result<Vec<DriftSnapshot>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM (SELECT * FROM drift_snapshots WHERE model = ?1 AND (?2 IS NULL OR version = ?2)
                            ORDER BY sequence DESC LIMIT ?3)
             ORDER BY sequence",
        )
        .bind(model)
        .bind(version)
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .map_err(self.failed("list drift snapshots"))?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &SqliteRow) -> Result<DriftSnapshot, StoreError> {
    let columns = Columns(row);
    Ok(DriftSnapshot {
        sequence: columns.get("sequence")?,
        model: columns.get("model")?,
        version: columns.get("version")?,
        observations: columns.get::<i64>("observations")? as u64,
        drifted: columns.get("drifted")?,
        features: columns.json("features")?,
        taken_at: columns.time("taken_at")?,
    })
}
