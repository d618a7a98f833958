use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;

use crate::{Store, StoreError, row::Columns};

/// Something that was decided about a model, with what it was decided on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its place in the order of all decisions.
    pub sequence: i64,
    /// The model.
    pub model: String,
    /// What makes it the same decision when it is recorded again.
    pub key: String,
    /// What was decided: `train`, `promote`, `reject`, `roll_back`, ...
    pub kind: String,
    /// Why, as one sentence.
    pub reason: String,
    /// The figures behind it.
    pub evidence: Value,
    /// When.
    pub decided_at: Timestamp,
}

/// A decision to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDecision {
    /// The model.
    pub model: String,
    /// What makes it the same decision when it is recorded again after a crash, such as `train run-7`.
    pub key: String,
    /// What was decided.
    pub kind: String,
    /// Why, as one sentence.
    pub reason: String,
    /// The figures behind it.
    pub evidence: Value,
}

impl Store {
    /// Records a decision; one with the same model and key is recorded once. Returns whether it was new.
    pub async fn record_decision(&self, decision: &NewDecision) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO decisions (model, key, kind, reason, evidence, decided_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (model, key) DO NOTHING",
        )
        .bind(&decision.model)
        .bind(&decision.key)
        .bind(&decision.kind)
        .bind(&decision.reason)
        .bind(decision.evidence.to_string())
        .bind(Timestamp::now().as_microsecond())
        .execute(self.pool())
        .await
        .map_err(self.failed("record a decision"))?;
        Ok(done.rows_affected() == 1)
    }

    /// The last `limit` decisions of one model (of all if `None`), oldest first.
    pub async fn decisions(&self, model: Option<&str>, limit: u32) -> Result<Vec<Decision>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM (SELECT * FROM decisions WHERE ?1 IS NULL OR model = ?1 ORDER BY sequence DESC LIMIT ?2)
             ORDER BY sequence",
        )
        .bind(model)
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .map_err(self.failed("list decisions"))?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &SqliteRow) -> Result<Decision, StoreError> {
    let columns = Columns(row);
    Ok(Decision {
        sequence: columns.get("sequence")?,
        model: columns.get("model")?,
        key: columns.get("key")?,
        kind: columns.get("kind")?,
        reason: columns.get("reason")?,
        evidence: columns.json("evidence")?,
        decided_at: columns.time("decided_at")?,
    })
}
