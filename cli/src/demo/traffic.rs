//! Clients: they ask for predictions at a steady rate and tell later what the answer should have been.

use super::world::Labelled;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Requests that the clients made, over the whole demo.
#[derive(Default)]
pub struct Counts {
    /// Answered with a prediction.
    pub answered: AtomicU64,
    /// Answered with an error, or not at all.
    pub failed: AtomicU64,
}

/// Where the clients talk to.
#[derive(Clone)]
pub struct Clients {
    http: reqwest::Client,
    predict: String,
    feedback: String,
    /// What they counted.
    pub counts: Arc<Counts>,
    pending: Arc<Mutex<VecDeque<Late>>>,
}

/// A label that arrives later.
struct Late {
    due: Instant,
    prediction: String,
    label: String,
}

/// Right answers among those given.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Right answers.
    pub right: u64,
    /// Answers.
    pub total: u64,
}

impl Tally {
    /// Share of right answers; NaN when there are none.
    pub fn accuracy(self) -> f64 {
        self.right as f64 / self.total as f64
    }
}

impl Clients {
    /// Clients of `model` at the service `base` (`http://127.0.0.1:8080`).
    pub fn new(base: &str, model: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            predict: format!("{base}/v1/models/{model}:predict"),
            feedback: format!("{base}/v1/feedback"),
            counts: Arc::default(),
            pending: Arc::default(),
        }
    }

    /// Asks about every row at `per_second`; labels follow after `delay`. Returns how many answers were right.
    pub async fn replay(&self, rows: &[Labelled], per_second: f64, delay: Duration) -> Tally {
        let started = Instant::now();
        let mut asked = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            sleep_until(started + Duration::from_secs_f64(index as f64 / per_second)).await;
            let (clients, row) = (self.clone(), row.clone());
            asked.push(tokio::spawn(async move { clients.ask(&row, delay).await }));
        }
        let mut tally = Tally::default();
        for answer in asked {
            if let Ok(Some(right)) = answer.await {
                tally.total += 1;
                tally.right += u64::from(right);
            }
        }
        tally
    }

    /// One request; whether the answer was right, `None` if there was none.
    async fn ask(&self, row: &Labelled, delay: Duration) -> Option<bool> {
        match self.predict(&row.text).await {
            Ok((prediction, label)) => {
                self.counts.answered.fetch_add(1, Ordering::Relaxed);
                let late = Late { due: Instant::now() + delay, prediction, label: row.label.clone() };
                self.pending.lock().await.push_back(late);
                Some(label == row.label)
            }
            Err(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("a request of the demo failed: {error:#}");
                None
            }
        }
    }

    async fn predict(&self, text: &str) -> Result<(String, String)> {
        let response = self.http.post(&self.predict).json(&json!({ "text": text })).send().await?;
        let status = response.status();
        let body: Value = response.json().await.with_context(|| format!("status {status}"))?;
        let field = |name: &str| {
            let value = body[name].as_str();
            value.map(str::to_owned).with_context(|| format!("status {status}, no {name} in {body}"))
        };
        Ok((field("prediction_id")?, field("label")?))
    }

    /// Delivers labels when they are due, until it is dropped.
    pub async fn deliver_labels(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = Instant::now();
            let mut due = Vec::new();
            {
                let mut pending = self.pending.lock().await;
                while pending.front().is_some_and(|late| late.due <= now) {
                    due.extend(pending.pop_front());
                }
            }
            for part in due.chunks(100) {
                let rows: Vec<Value> = part
                    .iter()
                    .map(|late| json!({ "prediction_id": late.prediction, "label": late.label }))
                    .collect();
                let sent = self.http.post(&self.feedback).json(&rows).send().await;
                if let Err(error) = sent.and_then(reqwest::Response::error_for_status) {
                    tracing::warn!("labels of the demo were not taken: {error}");
                }
            }
        }
    }

    /// Waits until every label was delivered.
    pub async fn labels_delivered(&self) {
        while !self.pending.lock().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
