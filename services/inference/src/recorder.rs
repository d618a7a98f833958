//! Writes predictions to the store in batches, beside the answering and never in its way.
//!
//! While the store is away (locked, full, gone) batches go to the `spool`, and the store is asked again from time to time
//! with the oldest of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};
use refit_metrics::Registry;
use refit_store::{PredictionRecord, Store, StoreError};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    config::RecordConfig,
    error::chain,
    events::{Event, Events},
    layers::Trace,
    sampling::{Sampler, Signs},
    spool::Spool,
};

/// Takes predictions to be written. Clones feed the same writer.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Message>,
    /// Bytes of text that wait.
    waiting: Arc<AtomicUsize>,
    queue_bytes: usize,
    sinks: Sinks,
}

/// What happens to a prediction besides being written.
#[derive(Clone)]
pub(crate) struct Sinks {
    pub sampler: Sampler,
    /// Absent when kept texts are sent nowhere.
    pub events: Option<Events>,
    pub metrics: RecorderMetrics,
}

/// Counts of what was written and what was lost.
#[derive(Clone)]
pub(crate) struct RecorderMetrics {
    recorded: IntCounter,
    dropped: IntCounterVec,
    spooled: IntCounter,
    spool_bytes: IntGauge,
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
                "Predictions answered but not written: queue_full, spool_full, or store_failed.",
            ),
            &["reason"],
        )?;
        for reason in [QUEUE_FULL, SPOOL_FULL, STORE_FAILED] {
            dropped.with_label_values(&[reason]);
        }
        let spooled = IntCounter::new(
            "refit_predictions_spooled_total",
            "Predictions put on disk because the store was away.",
        )?;
        let spool_bytes =
            IntGauge::new("refit_spool_bytes", "Bytes of predictions on disk that wait for the store.")?;
        registry.register(Box::new(recorded.clone()))?;
        registry.register(Box::new(dropped.clone()))?;
        registry.register(Box::new(spooled.clone()))?;
        registry.register(Box::new(spool_bytes.clone()))?;
        Ok(Self { recorded, dropped, spooled, spool_bytes })
    }

    fn lost(&self, reason: &str, count: usize) {
        self.dropped.with_label_values(&[reason]).inc_by(count as u64);
    }
}

const QUEUE_FULL: &str = "queue_full";
const SPOOL_FULL: &str = "spool_full";
const STORE_FAILED: &str = "store_failed";
const BATCH: usize = 1000;
/// How long the store may take for a batch before it counts as away.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pauses between looks at a store that is away.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// A batch that the store refuses so often, though it can be reached, is given up.
const MOST_REFUSALS: u32 = 5;

impl Recorder {
    /// Starts the writer. It ends, with everything written or on disk, when all recorders are dropped.
    pub fn start(store: Store, spool: Spool, config: &RecordConfig, sinks: Sinks) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(config.queue.max(1));
        let waiting = Arc::new(AtomicUsize::new(0));
        let metrics = sinks.metrics.clone();
        metrics.spool_bytes.set(i64::try_from(spool.bytes()).unwrap_or(i64::MAX));
        // What an earlier process left on disk is older than anything new.
        let away = (spool.bytes() > 0).then(Away::now);
        let writer = Writer {
            store,
            spool,
            away,
            receiver,
            waiting: Arc::clone(&waiting),
            interval: config.interval,
            metrics,
        };
        let task = tokio::spawn(writer.run());
        (Self { sender, waiting, queue_bytes: config.queue_bytes, sinks }, task)
    }

    /// Takes a prediction, or drops and counts it when too many wait. Its text is kept or left out by the sampling.
    /// Never blocks.
    pub fn record(&self, mut record: PredictionRecord, signs: Signs, trace: Option<Trace>) {
        match self.sinks.sampler.decide(record.id, signs) {
            Some(kept) => {
                if let Some(events) = &self.sinks.events {
                    events.send(Event::of(&record, kept, trace.map(|trace| trace.header())));
                }
            }
            None => record.text = String::new(),
        }
        let bytes = record.text.len();
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let room = waiting + bytes <= self.queue_bytes;
        if !room || self.sender.try_send(Message::Record(record)).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.sinks.metrics.lost(QUEUE_FULL, 1);
        }
    }

    /// Waits until what was recorded before is written (or on disk, or lost).
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.send(Message::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

struct Writer {
    store: Store,
    spool: Spool,
    /// Set while the store is away or the spool not empty.
    away: Option<Away>,
    receiver: mpsc::Receiver<Message>,
    waiting: Arc<AtomicUsize>,
    interval: Duration,
    metrics: RecorderMetrics,
}

/// When a store that is away is asked again.
struct Away {
    next: Instant,
    pause: Duration,
    /// How often it refused the oldest batch though it could be reached.
    refusals: u32,
}

impl Away {
    fn now() -> Self {
        Self { next: Instant::now(), pause: FIRST_PAUSE, refusals: 0 }
    }

    fn later(&mut self) {
        self.next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }
}

/// Why a batch was not written.
enum Unwritten {
    /// The store is away: the same batch may be written later.
    Away(String),
    /// The store does not take this batch.
    Refused(String),
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
            if self.away.as_ref().is_some_and(|away| Instant::now() >= away.next) {
                self.ask_again().await;
            }
            for done in waiters {
                let _ = done.send(());
            }
        }
    }

    /// Waits for a message and then for others to be written with, until somebody asks for a flush, or until the store
    /// is to be asked again. False when nobody can send any more.
    async fn collect(&mut self, messages: &mut Vec<Message>) -> bool {
        let first = self.receiver.recv_many(messages, BATCH);
        let mut new = match &self.away {
            Some(away) => match tokio::time::timeout_at(away.next, first).await {
                Ok(new) => new,
                Err(_) => return true,
            },
            None => first.await,
        };
        let until = Instant::now() + self.interval;
        let is_flush = |message: &Message| matches!(message, Message::Flush(_));
        while new > 0 && messages.len() < BATCH && !messages[messages.len() - new..].iter().any(is_flush) {
            let more = self.receiver.recv_many(messages, BATCH - messages.len());
            new = tokio::time::timeout_at(until, more).await.unwrap_or(0);
        }
        !messages.is_empty()
    }

    async fn write(&mut self, records: &[PredictionRecord]) {
        if records.is_empty() {
            return;
        }
        if self.away.is_none() {
            match self.insert(records).await {
                Ok(()) => return,
                Err(Unwritten::Away(error) | Unwritten::Refused(error)) => {
                    tracing::error!(
                        error,
                        "the store is away; predictions are kept on disk until it is back"
                    );
                    let mut away = Away::now();
                    away.later();
                    self.away = Some(away);
                }
            }
        }
        match self.spool.push(records).await {
            Ok(()) => self.metrics.spooled.inc_by(records.len() as u64),
            Err(error) => {
                tracing::warn!(count = records.len(), error = chain(&error), "predictions are lost");
                self.metrics.lost(SPOOL_FULL, records.len());
            }
        }
        self.tell_bytes();
    }

    /// Writes what waits on disk, oldest first, as far as the store takes it.
    async fn ask_again(&mut self) {
        while let Some((records, broken)) = self.spool.oldest().await {
            self.metrics.lost(STORE_FAILED, broken as usize);
            let Some(away) = &mut self.away else { return };
            if away.refusals >= MOST_REFUSALS {
                tracing::error!(count = records.len(), "the store does not take these predictions");
                self.metrics.lost(STORE_FAILED, records.len());
            } else if let Err(unwritten) = self.insert(&records).await {
                let Some(away) = &mut self.away else { return };
                away.later();
                match unwritten {
                    Unwritten::Away(error) => tracing::debug!(error, "the store is still away"),
                    Unwritten::Refused(error) => {
                        away.refusals += 1;
                        tracing::warn!(error, "the store refuses predictions");
                    }
                }
                return;
            }
            if let Some(away) = &mut self.away {
                (away.refusals, away.pause) = (0, FIRST_PAUSE);
            }
            self.spool.forget_oldest().await;
            self.tell_bytes();
        }
        tracing::info!("all predictions are in the store");
        self.away = None;
    }

    async fn insert(&self, records: &[PredictionRecord]) -> Result<(), Unwritten> {
        match tokio::time::timeout(WRITE_TIMEOUT, self.store.insert_predictions(records)).await {
            Ok(Ok(())) => {
                self.metrics.recorded.inc_by(records.len() as u64);
                Ok(())
            }
            Ok(Err(error)) if error.is_transient() || matches!(error, StoreError::Open { .. }) => {
                Err(Unwritten::Away(chain(&error)))
            }
            Ok(Err(error)) => Err(Unwritten::Refused(chain(&error))),
            Err(_) => Err(Unwritten::Away(format!("no answer within {} s", WRITE_TIMEOUT.as_secs()))),
        }
    }

    fn tell_bytes(&self) {
        self.metrics.spool_bytes.set(i64::try_from(self.spool.bytes()).unwrap_or(i64::MAX));
    }
}
