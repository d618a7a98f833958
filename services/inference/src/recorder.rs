//! Writes predictions to the store in batches, beside the answering and never in its way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use refit_store::{PredictionRecord, Store};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use crate::{config::RecordConfig, error::chain};

/// Takes predictions to be written. Clones feed the same writer.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Message>,
    /// Bytes of text that wait.
    waiting: Arc<AtomicUsize>,
    queue_bytes: usize,
    metrics: RecorderMetrics,
}

/// Counts of what was written and what was lost.
#[derive(Clone)]
pub(crate) struct RecorderMetrics {
    recorded: IntCounter,
    dropped: IntCounterVec,
}

enum Message {
    Record(PredictionRecord),
    /// Answered once everything sent before is written.
    Flush(oneshot::Sender<()>),
}

impl RecorderMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let recorded =
            IntCounter::new("refit_predictions_recorded_total", "Predictions written to the store.")?;
        let dropped = IntCounterVec::new(
            Opts::new(
                "refit_predictions_dropped_total",
                "Predictions answered but not written: queue_full, or store_failed.",
            ),
            &["reason"],
        )?;
        for reason in [QUEUE_FULL, STORE_FAILED] {
            dropped.with_label_values(&[reason]);
        }
        registry.register(Box::new(recorded.clone()))?;
        registry.register(Box::new(dropped.clone()))?;
        Ok(Self { recorded, dropped })
    }
}

const QUEUE_FULL: &str = "queue_full";
const STORE_FAILED: &str = "store_failed";
const BATCH: usize = 1000;
/// How long a batch is tried again while the store is busy or its disk full.
const RETRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

impl Recorder {
    /// Starts the writer. It ends, with everything written, when all recorders are dropped.
    pub fn start(store: Store, config: &RecordConfig, metrics: RecorderMetrics) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(config.queue.max(1));
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            store,
            receiver,
            waiting: Arc::clone(&waiting),
            interval: config.interval,
            metrics: metrics.clone(),
        };
        let task = tokio::spawn(writer.run());
        (Self { sender, waiting, queue_bytes: config.queue_bytes, metrics }, task)
    }

    /// Takes a prediction, or drops and counts it when too many wait. Never blocks.
    pub fn record(&self, record: PredictionRecord) {
        let bytes = record.text.len();
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let room = waiting + bytes <= self.queue_bytes;
        if !room || self.sender.try_send(Message::Record(record)).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.metrics.dropped.with_label_values(&[QUEUE_FULL]).inc();
        }
    }

    /// Waits until what was recorded before is written (or lost).
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.send(Message::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

struct Writer {
    store: Store,
    receiver: mpsc::Receiver<Message>,
    waiting: Arc<AtomicUsize>,
    interval: Duration,
    metrics: RecorderMetrics,
}

impl Writer {
    async fn run(mut self) {
        let mut messages = Vec::with_capacity(BATCH);
        while self.collect(&mut messages).await {
            let (mut records, mut waiters) = (Vec::with_capacity(messages.len()), Vec::new());
            for message in messages.drain(..) {
                match message {
                    Message::Record(record) => records.push(record),
                    Message::Flush(done) => waiters.push(done),
                }
            }
            self.write(&records).await;
            let bytes = records.iter().map(|record| record.text.len()).sum();
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            for done in waiters {
                let _ = done.send(());
            }
        }
    }

    /// Waits for a message and then for others to be written with, until somebody asks for a flush. False when
    /// nobody can send any more.
    async fn collect(&mut self, messages: &mut Vec<Message>) -> bool {
        let mut new = self.receiver.recv_many(messages, BATCH).await;
        let until = Instant::now() + self.interval;
        let is_flush = |message: &Message| matches!(message, Message::Flush(_));
        while new > 0 && messages.len() < BATCH && !messages[messages.len() - new..].iter().any(is_flush) {
            let more = self.receiver.recv_many(messages, BATCH - messages.len());
            new = tokio::time::timeout_at(until, more).await.unwrap_or(0);
        }
        !messages.is_empty()
    }

    async fn write(&self, records: &[PredictionRecord]) {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=RETRIES {
            match self.store.insert_predictions(records).await {
                Ok(()) => return self.metrics.recorded.inc_by(records.len() as u64),
                Err(error) if error.is_transient() && attempt < RETRIES => {
                    tracing::warn!(error = chain(&error), "predictions cannot be written yet");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => {
                    tracing::error!(
                        count = records.len(),
                        error = chain(&error),
                        "predictions were not written"
                    );
                    self.metrics.dropped.with_label_values(&[STORE_FAILED]).inc_by(records.len() as u64);
                    return;
                }
            }
        }
    }
}
