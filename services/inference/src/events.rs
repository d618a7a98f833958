//! Sends kept texts as CloudEvents over HTTP, to whatever collects data for training.
//!
//! From a bounded queue, by a task of its own: a receiver that is away or slow costs events, which are counted, and
//! nothing else.

use std::time::Duration;

use prometheus::{IntCounterVec, Opts};
use refit_metrics::Registry;
use refit_spec::EventsMode;
use refit_store::PredictionRecord;
use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::sampling::Kept;

/// Takes texts to be sent. Clones feed the same sender.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<Event>,
    metrics: EventMetrics,
}

/// One CloudEvent.
pub(crate) struct Event {
    attributes: Vec<(&'static str, String)>,
    data: Value,
}

/// Counts of events by what became of them.
#[derive(Clone)]
pub(crate) struct EventMetrics(IntCounterVec);

const QUEUE: usize = 1000;
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(5);
const SENT: &str = "sent";
const REFUSED: &str = "refused";
const FAILED: &str = "failed";
const QUEUE_FULL: &str = "queue_full";

impl EventMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let events = IntCounterVec::new(
            Opts::new(
                "refit_events_total",
                "CloudEvents by outcome: sent, refused by the receiver, failed, or dropped because too many waited (queue_full).",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(events.clone()))?;
        Ok(Self(events))
    }

    fn count(&self, outcome: &str) {
        self.0.with_label_values(&[outcome]).inc();
    }
}

impl Events {
    /// Starts the sender; it ends when all that feed it are dropped.
    pub fn start(address: String, mode: EventsMode, metrics: EventMetrics) -> (Self, JoinHandle<()>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let sender = Sender { client: reqwest::Client::new(), address, mode, metrics: metrics.clone() };
        (Self { queue, metrics }, tokio::spawn(sender.run(receiver)))
    }

    /// Takes an event, or drops and counts it. Never blocks.
    pub fn send(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            self.metrics.count(QUEUE_FULL);
        }
    }
}

impl Event {
    /// That of a kept text. `traceparent` is that of its request.
    pub fn of(record: &PredictionRecord, kept: Kept, traceparent: Option<String>) -> Self {
        let PredictionRecord { model, version, .. } = record;
        let mut attributes = vec![
            ("specversion", "1.0".to_owned()),
            ("id", record.id.to_string()),
            ("source", format!("/refit/models/{model}/versions/{version}")),
            ("type", "dev.refit.prediction.v1".to_owned()),
            ("subject", model.clone()),
            ("time", record.predicted_at.to_string()),
            ("datacontenttype", "application/json".to_owned()),
        ];
        attributes.extend(traceparent.map(|parent| ("traceparent", parent)));
        let data = json!({
            "prediction_id": record.id.to_string(),
            "model": model,
            "version": version,
            "role": record.role.name(),
            "text": record.text,
            "label": record.label,
            "confidence": record.confidence,
            "probabilities": record.probabilities,
            "kept": kept.name(),
        });
        Self { attributes, data }
    }

    /// Headers and body, as the HTTP binding of CloudEvents 1.0 says.
    fn write(&self, mode: EventsMode) -> (HeaderMap, Vec<u8>) {
        let mut headers = HeaderMap::new();
        match mode {
            EventsMode::Structured => {
                let mut event: serde_json::Map<String, Value> =
                    self.attributes.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
                event.insert("data".to_owned(), self.data.clone());
                let kind = HeaderValue::from_static("application/cloudevents+json; charset=UTF-8");
                headers.insert(CONTENT_TYPE, kind);
                (headers, Value::Object(event).to_string().into_bytes())
            }
            EventsMode::Binary => {
                for (name, value) in &self.attributes {
                    let name = match *name {
                        "datacontenttype" => CONTENT_TYPE,
                        name => match HeaderName::try_from(format!("ce-{name}")) {
                            Ok(name) => name,
                            Err(_) => continue,
                        },
                    };
                    if let Ok(value) = HeaderValue::try_from(header_text(value)) {
                        headers.insert(name, value);
                    }
                }
                (headers, self.data.to_string().into_bytes())
            }
        }
    }
}

/// What is not printable ASCII, and what quotes, is percent-encoded in a header.
fn header_text(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'!'..=b'~' if !b"%\"".contains(&byte) => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

struct Sender {
    client: reqwest::Client,
    address: String,
    mode: EventsMode,
    metrics: EventMetrics,
}

impl Sender {
    async fn run(self, mut queue: mpsc::Receiver<Event>) {
        let mut was_reached = true;
        while let Some(event) = queue.recv().await {
            let outcome = self.send(&event).await;
            self.metrics.count(outcome);
            if outcome == FAILED && std::mem::take(&mut was_reached) {
                tracing::error!(address = self.address, "events cannot be sent");
            }
            was_reached |= outcome == SENT;
        }
    }

    /// Tries a few times, unless the receiver says that it will never take it.
    async fn send(&self, event: &Event) -> &'static str {
        let (headers, body) = event.write(self.mode);
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let request = self.client.post(&self.address).headers(headers.clone()).timeout(TIMEOUT);
            let again = match request.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return SENT,
                Ok(answer) => {
                    answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS
                }
                Err(_) => true,
            };
            if !again {
                return REFUSED;
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
        }
        FAILED
    }
}
