use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row, Sqlite, Transaction, sqlite::SqliteRow};

use crate::{Role, Store, StoreError, row::Columns};

/// The true label of a prediction. Labels that the model has never seen are accepted: the next one can learn them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// The prediction's id.
    pub prediction_id: String,
    /// The true label.
    pub label: String,
}

/// What was learned from one piece of feedback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its place in the order of arrival, over all models.
    pub sequence: i64,
    /// The model that had answered.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Whether the answer was right.
    pub correct: bool,
}

/// A prediction with its true label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledRow {
    /// Place in the order in which labels arrived, over all models.
    pub sequence: i64,
    /// The prediction's id.
    pub prediction_id: String,
    /// The version that had answered.
    pub version: String,
    /// Whether it answered as champion or as canary.
    pub role: Role,
    /// The raw text.
    pub text: String,
    /// The label that was predicted.
    pub predicted: String,
    /// The probability that the prediction was given.
    pub confidence: f32,
    /// The true label.
    pub label: String,
    /// When the prediction was made.
    pub predicted_at: Timestamp,
    /// When the label arrived.
    pub given_at: Timestamp,
}

/// Which labelled rows.
#[derive(Clone, Copy, Debug)]
pub struct LabelledQuery<'a> {
    /// Of this model.
    pub model: &'a str,
    /// Answered by this version; by any if `None`.
    pub version: Option<&'a str>,
    /// Only rows whose sequence is greater: the cursor.
    pub after: i64,
    /// Only rows whose prediction was made at this time or later.
    pub predicted_since: Option<Timestamp>,
    /// At most this many.
    pub limit: u32,
}

/// How many labels there are, and how many answers were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledTally {
    /// Labels.
    pub total: u64,
    /// Of these, right answers.
    pub correct: u64,
    /// The last sequence number counted; 0 if none.
    pub last_sequence: i64,
}

const GIVE: &str = "record feedback";

impl Store {
    /// Records one label.
    pub async fn give_feedback(&self, feedback: &Feedback) -> Result<Accepted, StoreError> {
        let mut transaction = self.write(GIVE).await?;
        let accepted = self.give(&mut transaction, feedback).await?;
        transaction.commit().await.map_err(self.failed(GIVE))?;
        Ok(accepted)
    }

    /// Records many labels in one transaction. One that is unknown or given already does not keep the others out:
    /// each has its own result, in the order given. The outer error means that nothing was recorded.
    pub async fn give_feedback_batch(
        &self,
        batch: &[Feedback],
    ) -> Result<Vec<Result<Accepted, StoreError>>, StoreError> {
        let mut transaction = self.write(GIVE).await?;
        let mut results = Vec::with_capacity(batch.len());
        for feedback in batch {
            let result = self.give(&mut transaction, feedback).await;
            match result {
                Ok(_) | Err(StoreError::UnknownPrediction { .. } | StoreError::AlreadyGiven { .. }) => {
                    results.push(result);
                }
                Err(error) => return Err(error),
            }
        }
        transaction.commit().await.map_err(self.failed(GIVE))?;
        Ok(results)
    }

    async fn give(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        feedback: &Feedback,
    ) -> Result<Accepted, StoreError> {
        let id = &feedback.prediction_id;
        let inserted = sqlx::query(
            "INSERT INTO feedback (prediction_id, model, version, label, correct, given_at)
             SELECT id, model, version, ?2, label = ?2, ?3 FROM predictions WHERE id = ?1
             ON CONFLICT (prediction_id) DO NOTHING
             RETURNING sequence, model, version, correct",
        )
        .bind(id)
        .bind(&feedback.label)
        .bind(Timestamp::now().as_microsecond())
        .fetch_optional(&mut **transaction)
        .await
        .map_err(self.failed(GIVE))?;
        if let Some(row) = inserted {
            let columns = Columns(&row);
            return Ok(Accepted {
                sequence: columns.get("sequence")?,
                model: columns.get("model")?,
                version: columns.get("version")?,
                correct: columns.get("correct")?,
            });
        }
        let known: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM predictions WHERE id = ?1")
            .bind(id)
            .fetch_one(&mut **transaction)
            .await
            .map_err(self.failed(GIVE))?;
        Err(match known {
            0 => StoreError::UnknownPrediction { id: id.clone() },
            _ => StoreError::AlreadyGiven { id: id.clone() },
        })
    }

    /// Labelled rows in the order in which the labels arrived.
    pub async fn labelled_rows(&self, query: LabelledQuery<'_>) -> Result<Vec<LabelledRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT f.sequence, f.prediction_id, f.version, p.role, p.text, p.label AS predicted, p.confidence,
                    f.label, p.predicted_at, f.given_at
             FROM feedback f JOIN predictions p ON p.id = f.prediction_id
             WHERE f.model = ?1 AND (?2 IS NULL OR f.version = ?2) AND f.sequence > ?3
               AND (?4 IS NULL OR p.predicted_at >= ?4)
             ORDER BY f.sequence LIMIT ?5",
        )
        .bind(query.model)
        .bind(query.version)
        .bind(query.after)
        .bind(query.predicted_since.map(|time| time.as_microsecond()))
        .bind(query.limit)
        .fetch_all(self.pool())
        .await
        .map_err(self.failed("read labelled rows"))?;
        rows.iter().map(read).collect()
    }

    /// Counts the labelled rows of a version (of any if `None`) whose sequence is greater than `after`.
    pub async fn labelled_tally(
        &self,
        model: &str,
        version: Option<&str>,
        after: i64,
    ) -> Result<LabelledTally, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*), COALESCE(SUM(correct), 0), COALESCE(MAX(sequence), 0) FROM feedback
             WHERE model = ?1 AND (?2 IS NULL OR version = ?2) AND sequence > ?3",
        )
        .bind(model)
        .bind(version)
        .bind(after)
        .fetch_one(self.pool())
        .await
        .map_err(self.failed("count labelled rows"))?;
        read_tally(&row)
    }

    /// Counts the last `limit` labelled rows of a version: its accuracy of late.
    pub async fn recent_tally(
        &self,
        model: &str,
        version: &str,
        limit: u32,
    ) -> Result<LabelledTally, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*), COALESCE(SUM(correct), 0), COALESCE(MAX(sequence), 0) FROM (
                 SELECT correct, sequence FROM feedback WHERE model = ?1 AND version = ?2
                 ORDER BY sequence DESC LIMIT ?3)",
        )
        .bind(model)
        .bind(version)
        .bind(limit)
        .fetch_one(self.pool())
        .await
        .map_err(self.failed("count recent labelled rows"))?;
        read_tally(&row)
    }
}

fn read_tally(row: &SqliteRow) -> Result<LabelledTally, StoreError> {
    let (total, correct): (i64, i64) = (row.get(0), row.get(1));
    Ok(LabelledTally { total: total as u64, correct: correct as u64, last_sequence: row.get(2) })
}

fn read(row: &SqliteRow) -> Result<LabelledRow, StoreError> {
    let columns = Columns(row);
    Ok(LabelledRow {
        sequence: columns.get("sequence")?,
        prediction_id: columns.get("prediction_id")?,
        version: columns.get("version")?,
        role: columns.named("role", Role::parse)?,
        text: columns.get("text")?,
        predicted: columns.get("predicted")?,
        confidence: columns.get::<f64>("confidence")? as f32,
        label: columns.get("label")?,
        predicted_at: columns.time("predicted_at")?,
        given_at: columns.time("given_at")?,
    })
}
