//! What all requests share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus::{IntCounterVec, Opts};
use refit_metrics::Registry;
use refit_store::Store;
use tokio::sync::watch;

use crate::{
    access::{Access, Buckets},
    api_error::ApiError,
    cache::Answers,
    catalog::Catalog,
    follow,
    job::{Job, Outlets},
    limits::Limits,
    process::ProcessMetrics,
    queue::Queue,
    routing::{Model, Residence},
    telemetry::Telemetry,
};

/// State of the service, behind an `Arc`.
pub(crate) struct App {
    pub models: Models,
    pub queue: Arc<Queue<Job>>,
    /// Absent when an artifact is served without a store.
    pub store: Option<Store>,
    pub outlets: Outlets,
    /// Absent when every text is computed.
    pub answers: Option<Answers>,
    pub catalog: Arc<Catalog>,
    pub registry: Registry,
    pub metrics: RequestMetrics,
    pub process: ProcessMetrics,
    pub max_body_bytes: usize,
    pub deadline: Duration,
    pub accuracy_labels: u32,
    /// Whether the service stops; streams wait for it.
    pub draining: watch::Sender<bool>,
    /// Threads that compute.
    pub workers: usize,
    pub access: Access,
    pub buckets: Buckets,
    pub limits: Arc<Limits>,
    pub log_payloads: bool,
    /// Absent when no spans are exported.
    pub telemetry: Option<Telemetry>,
}

/// The models by name. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Models {
    by_name: Arc<RwLock<BTreeMap<String, Arc<Model>>>>,
    started: Arc<AtomicBool>,
}

/// Counts of requests and of feedback.
#[derive(Clone)]
pub(crate) struct RequestMetrics {
    pub requests: IntCounterVec,
    pub rejected: IntCounterVec,
    pub feedback: IntCounterVec,
    reloads: IntCounterVec,
}

impl RequestMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "refit_requests_total",
                "Requests for an answer, by status; the model is empty if unknown.",
            ),
            &["model", "code"],
        )?;
        let feedback = IntCounterVec::new(
            Opts::new("refit_feedback_total", "True labels that arrived, by whether the answer was right."),
            &["model", "version", "outcome"],
        )?;
        let rejected = IntCounterVec::new(
            Opts::new("refit_requests_rejected_total", "Requests that got no answer, by why."),
            &["reason"],
        )?;
        let reloads = IntCounterVec::new(
            Opts::new(
                "refit_reloads_total",
                "Times that the file of tokens or the certificate was read anew, by outcome: used or failed.",
            ),
            &["file", "outcome"],
        )?;
        for counter in [&requests, &rejected, &feedback, &reloads] {
            registry.register(Box::new(counter.clone()))?;
        }
        Ok(Self { requests, rejected, feedback, reloads })
    }

    /// Counts that a file was read again.
    pub fn reloaded(&self, file: &str, used: bool) {
        self.reloads.with_label_values(&[file, if used { "used" } else { "failed" }]).inc();
    }
}

impl Models {
    pub fn get(&self, name: &str) -> Option<Arc<Model>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub fn get_or_add(&self, name: &str) -> Arc<Model> {
        let mut models = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(models.entry(name.to_owned()).or_insert_with(|| Arc::new(Model::new(name))))
    }

    pub fn all(&self) -> Vec<Arc<Model>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Models {
    /// Everything that is deployed has been loaded once, or could not be.
    pub fn mark_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether the service has begun. It never goes back.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }
}

impl App {
    /// Loads the model if it is only loaded on demand. Every request for an answer begins with this: a model that is
    /// asked for stays in memory longer than others.
    pub async fn awake(&self, model: &Model) -> Result<(), ApiError> {
        model.touch();
        if model.routing().champion.is_none() {
            self.catalog.wake(model).await?;
        }
        Ok(())
    }

    /// Whether requests should be sent here: there is a model, and all that are to be in memory have a version that
    /// answers.
    pub fn is_ready(&self) -> bool {
        let models = self.models.all();
        let rests = |model: &Model| matches!(model.residence(), Residence::OnDemand | Residence::Unloaded);
        let answers = |model: &Arc<Model>| model.routing().champion.is_some() || rests(model);
        !self.is_draining() && !models.is_empty() && models.iter().all(answers)
    }

    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Brings the gauges up to date and writes all metrics in the text format.
    pub async fn render_metrics(&self) -> Result<String, prometheus::Error> {
        self.process.update();
        let models = self.models.all();
        self.queue.retain(|name| models.iter().any(|model| &*model.name == name));
        for model in models {
            for (serving, _) in model.routing().serving() {
                serving.model.watch.publish_drift(Instant::now());
            }
        }
        if let Some(store) = &self.store
            && let Err(error) = follow::publish_accuracy(store, &self.models, self.accuracy_labels).await
        {
            tracing::warn!(error = crate::error::chain(&error), "live accuracy cannot be read");
        }
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
