use jiff::Timestamp;

use crate::{Store, StoreError};

/// Up to when things are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Predictions without a label that were made before.
    pub unlabelled_before: Timestamp,
    /// Predictions with a label that were made before, and their labels.
    pub labelled_before: Timestamp,
    /// Drift snapshots that were taken before.
    pub drift_before: Timestamp,
}

/// How much was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Predictions, labelled or not.
    pub predictions: u64,
    /// Drift snapshots.
    pub drift_snapshots: u64,
}

/// Rows deleted in one transaction, so that writers never wait long.
const CHUNK: i64 = 2000;

impl Store {
    /// Forgets what is older than `retention` says, in small transactions.
    pub async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        loop {
            let deleted = self.prune_predictions(retention).await?;
            pruned.predictions += deleted;
            if deleted < CHUNK as u64 {
                break;
            }
        }
        let done = sqlx::query("DELETE FROM drift_snapshots WHERE taken_at < ?1")
            .bind(retention.drift_before.as_microsecond())
            .execute(self.pool())
            .await
            .map_err(self.failed("prune drift snapshots"))?;
        pruned.drift_snapshots = done.rows_affected();
        Ok(pruned)
    }

    async fn prune_predictions(&self, retention: Retention) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM predictions WHERE id IN (
                 SELECT p.id FROM predictions p LEFT JOIN feedback f ON f.prediction_id = p.id
                 WHERE p.predicted_at < MAX(?1, ?2)
                   AND p.predicted_at < CASE WHEN f.sequence IS NULL THEN ?1 ELSE ?2 END
                 LIMIT ?3)",
        )
        .bind(retention.unlabelled_before.as_microsecond())
        .bind(retention.labelled_before.as_microsecond())
        .bind(CHUNK)
        .execute(self.pool())
        .await
        .map_err(self.failed("prune predictions"))?;
        Ok(done.rows_affected())
    }
}
