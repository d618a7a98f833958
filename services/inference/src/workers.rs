//! The threads that compute. Each runs one text at a time through a single-threaded session, so that an answer never
//! depends on what else is asked, and short texts do not pay for the padding of long ones.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use jiff::Timestamp;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use refit_engine::without_panic;
use refit_predictor::{Input, Prediction, PredictorError};
use refit_store::{PredictionRecord, Role};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{error::chain, loaded::LoadedModel, queue::Queue, recorder::Recorder};

/// A text, with a second one where the model reads two.
#[derive(Debug)]
pub(crate) struct Text {
    pub text: String,
    pub pair: Option<String>,
}

/// One text to be answered.
pub(crate) struct Job {
    pub text: Text,
    pub model: Arc<LoadedModel>,
    pub role: Role,
    /// When the request came in.
    pub accepted: Instant,
    /// When it was put into the queue.
    pub queued: Instant,
    /// After this nobody waits for the answer any more.
    pub deadline: Instant,
    pub reply: oneshot::Sender<Result<Answer, Failure>>,
}

/// The answer to one text.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What feedback is given by.
    pub id: Uuid,
    pub version: Arc<str>,
    /// All labels, in the order of the probabilities.
    pub labels: Arc<[Arc<str>]>,
    pub prediction: Prediction,
}

/// Why a text got no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The deadline passed while it waited.
    Late,
    /// The text cannot be tokenized.
    Text(String),
    /// The engine failed.
    Engine,
}

/// Counts and times of the work.
#[derive(Clone)]
pub(crate) struct WorkMetrics {
    pub duration: HistogramVec,
    pub predictions: IntCounterVec,
    pub failures: IntCounterVec,
    dropped: IntCounterVec,
}

impl WorkMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "refit_request_duration_seconds",
                "Time of one text in a phase: queue, tokenize, compute, and total from the request's arrival.",
            )
            .buckets(vec![
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.25, 2.5, 5.0, 10.0,
            ]),
            &["model", "version", "phase"],
        )?;
        let counter =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let predictions = counter("refit_predictions_total", "Texts answered.", &["model", "version"])?;
        let failures = counter(
            "refit_prediction_failures_total",
            "Texts that the tokenizer or the engine failed on.",
            &["model", "version"],
        )?;
        let dropped = counter(
            "refit_texts_dropped_total",
            "Texts not computed because nobody waits for them any more: client_left or deadline.",
            &["reason"],
        )?;
        registry.register(Box::new(duration.clone()))?;
        for counter in [&predictions, &failures, &dropped] {
            registry.register(Box::new(counter.clone()))?;
        }
        Ok(Self { duration, predictions, failures, dropped })
    }
}

/// Starts `count` threads that work until the queue is closed and empty.
pub(crate) fn start(
    count: usize,
    queue: &Arc<Queue<Job>>,
    recorder: Option<&Recorder>,
    metrics: &WorkMetrics,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    (0..count.max(1))
        .map(|index| {
            let (queue, recorder, metrics) = (Arc::clone(queue), recorder.cloned(), metrics.clone());
            thread::Builder::new().name(format!("refit-worker-{index}")).spawn(move || {
                while let Some(job) = queue.pop() {
                    work(job, recorder.as_ref(), &metrics);
                }
            })
        })
        .collect()
}

fn work(job: Job, recorder: Option<&Recorder>, metrics: &WorkMetrics) {
    if job.reply.is_closed() {
        metrics.dropped.with_label_values(&["client_left"]).inc();
        return;
    }
    if Instant::now() >= job.deadline {
        metrics.dropped.with_label_values(&["deadline"]).inc();
        let _ = job.reply.send(Err(Failure::Late));
        return;
    }
    job.model.phases.queue.observe(job.queued.elapsed().as_secs_f64());
    let Job { text, model, role, accepted, reply, .. } = job;
    let answer = match without_panic(|| predict(&model, &text)) {
        Ok(Ok(prediction)) => {
            let id = Uuid::now_v7();
            model.counters.predictions.inc();
            model.watch.observe(&prediction.observation, Instant::now());
            if let Some(recorder) = recorder {
                recorder.record(record(id, &model, role, text.text, &prediction));
            }
            let (version, labels) = (Arc::clone(&model.version), Arc::clone(&model.labels));
            Ok(Answer { id, version, labels, prediction })
        }
        Ok(Err(error)) => {
            model.counters.failures.inc();
            match error {
                PredictorError::Tokenize(source) => Err(Failure::Text(source.to_string())),
                error @ PredictorError::Pair { .. } => Err(Failure::Text(error.to_string())),
                error => {
                    tracing::error!(model = %model.name, version = %model.version, error = chain(&error), "a text failed");
                    Err(Failure::Engine)
                }
            }
        }
        Err(panic) => {
            model.counters.failures.inc();
            tracing::error!(model = %model.name, version = %model.version, error = panic, "a text failed");
            Err(Failure::Engine)
        }
    };
    model.phases.total.observe(accepted.elapsed().as_secs_f64());
    // A send that fails means that the client has left.
    let _ = reply.send(answer);
}

fn predict(model: &LoadedModel, text: &Text) -> Result<Prediction, PredictorError> {
    let input = Input { text: &text.text, pair: text.pair.as_deref() };
    let mut worker = model.predictor.worker()?;
    let timer = model.phases.tokenize.start_timer();
    let windows = worker.tokenize(input)?;
    timer.observe_duration();
    let _timer = model.phases.compute.start_timer();
    worker.predict_tokens(input, &windows)
}

fn record(
    id: Uuid,
    model: &LoadedModel,
    role: Role,
    text: String,
    prediction: &Prediction,
) -> PredictionRecord {
    PredictionRecord {
        id,
        model: model.name.to_string(),
        version: model.version.to_string(),
        role,
        text,
        label: prediction.answer.short(),
        // 0 stands for an answer that has no probability, such as a number.
        confidence: prediction.answer.confidence().unwrap_or(0.0) as f32,
        probabilities: prediction.answer.probabilities().to_vec(),
        predicted_at: Timestamp::now(),
    }
}
