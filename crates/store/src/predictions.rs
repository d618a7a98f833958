use jiff::Timestamp;
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::{Role, Store, StoreError, row::Columns};

/// An answer that was given.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionRecord {
    /// The id that the client got; made with [`Uuid::now_v7`], so ids sort by time.
    pub id: Uuid,
    /// The model that answered.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Whether it answered as champion or as canary.
    pub role: Role,
    /// The raw text.
    pub text: String,
    /// The predicted label.
    pub label: String,
    /// The probability of the predicted label.
    pub confidence: f32,
    /// The probabilities of all labels, in the model's order.
    pub probabilities: Vec<f32>,
    /// When it was answered.
    pub predicted_at: Timestamp,
}

/// SQLite takes at most 32,766 parameters in a statement.
const ROWS_A_STATEMENT: usize = 1000;

impl Store {
    /// Writes a batch in one transaction: all or none. A prediction that is there already is left alone.
    pub async fn insert_predictions(&self, batch: &[PredictionRecord]) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        const OPERATION: &str = "record predictions";
        let failed = self.failed(OPERATION);
        let probabilities = batch
            .iter()
            .map(|record| serde_json::to_string(&record.probabilities))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| StoreError::Json { what: "probabilities", source })?;
        let mut transaction = self.write(OPERATION).await?;
        for (records, probabilities) in
            batch.chunks(ROWS_A_STATEMENT).zip(probabilities.chunks(ROWS_A_STATEMENT))
        {
            let mut statement = QueryBuilder::new(
                "INSERT INTO predictions
                 (id, model, version, role, text, label, confidence, probabilities, predicted_at) ",
            );
            statement.push_values(records.iter().zip(probabilities), |mut row, (record, probabilities)| {
                row.push_bind(record.id.to_string())
                    .push_bind(&record.model)
                    .push_bind(&record.version)
                    .push_bind(record.role.name())
                    .push_bind(&record.text)
                    .push_bind(&record.label)
                    .push_bind(f64::from(record.confidence))
                    .push_bind(probabilities)
                    .push_bind(record.predicted_at.as_microsecond());
            });
            statement.push(" ON CONFLICT (id) DO NOTHING");
            statement.build().execute(&mut *transaction).await.map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)
    }

    /// One prediction.
    pub async fn prediction(&self, id: &str) -> Result<PredictionRecord, StoreError> {
        let unknown = || StoreError::UnknownPrediction { id: id.into() };
        let row = sqlx::query("SELECT * FROM predictions WHERE id = ?1")
            .bind(id)
            .fetch_optional(self.pool())
            .await
            .map_err(self.failed("read a prediction"))?
            .ok_or_else(unknown)?;
        let columns = Columns(&row);
        let probabilities: String = columns.get("probabilities")?;
        Ok(PredictionRecord {
            id: columns.named("id", |text| Uuid::parse_str(text).ok())?,
            model: columns.get("model")?,
            version: columns.get("version")?,
            role: columns.named("role", Role::parse)?,
            text: columns.get("text")?,
            label: columns.get("label")?,
            confidence: columns.get::<f64>("confidence")? as f32,
            probabilities: serde_json::from_str(&probabilities)
                .map_err(|_| StoreError::Value { column: "probabilities", value: probabilities })?,
            predicted_at: columns.time("predicted_at")?,
        })
    }

    /// How many predictions of `model` are stored, made at `since` or later.
    pub async fn count_predictions(&self, model: &str, since: Timestamp) -> Result<u64, StoreError> {
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM predictions WHERE model = ?1 AND predicted_at >= ?2")
                .bind(model)
                .bind(since.as_microsecond())
                .fetch_one(self.pool())
                .await
                .map_err(self.failed("count predictions"))?;
        Ok(count as u64)
    }
}
