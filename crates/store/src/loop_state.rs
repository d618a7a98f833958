use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Store, StoreError, row::Columns};

/// Where the loop of a model is. What the state means is the scheduler's business.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopState<T> {
    /// Counts the changes; needed to make the next one.
    pub revision: i64,
    /// The state.
    pub state: T,
    /// When it was written.
    pub changed_at: Timestamp,
}

const SAVE: &str = "save the loop's state";

impl Store {
    /// The state of `model`'s loop, `None` before the first.
    pub async fn loop_state<T: DeserializeOwned>(
        &self,
        model: &str,
    ) -> Result<Option<LoopState<T>>, StoreError> {
        let row = sqlx::query("SELECT * FROM loop_state WHERE model = ?1")
            .bind(model)
            .fetch_optional(self.pool())
            .await
            .map_err(self.failed("read the loop's state"))?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns(&row);
        let text: String = columns.get("state")?;
        let state =
            serde_json::from_str(&text).map_err(|_| StoreError::Value { column: "state", value: text })?;
        Ok(Some(LoopState {
            revision: columns.get("revision")?,
            state,
            changed_at: columns.time("changed_at")?,
        }))
    }

    /// Saves the state if nobody did since `expected` (0 before the first), and returns the new revision.
    pub async fn save_loop_state<T: Serialize>(
        &self,
        model: &str,
        expected: i64,
        state: &T,
    ) -> Result<i64, StoreError> {
        let failed = self.failed(SAVE);
        let text = serde_json::to_string(state)
            .map_err(|source| StoreError::Json { what: "the loop's state", source })?;
        let mut transaction = self.write(SAVE).await?;
        let actual: i64 = sqlx::query_scalar("SELECT revision FROM loop_state WHERE model = ?1")
            .bind(model)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(&failed)?
            .unwrap_or(0);
        if actual != expected {
            return Err(StoreError::StaleLoopState { model: model.into(), expected, actual });
        }
        sqlx::query(
            "INSERT OR REPLACE INTO loop_state (model, revision, state, changed_at) VALUES (?1, ?2, ?3, ?4)",
        )
        .bind(model)
        .bind(expected + 1)
        .bind(text)
        .bind(Timestamp::now().as_microsecond())
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        transaction.commit().await.map_err(&failed)?;
        Ok(expected + 1)
    }
}
