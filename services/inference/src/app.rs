//! What all requests share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus::{IntCounterVec, Opts, Registry};
use refit_store::Store;

use crate::{follow, queue::Queue, recorder::Recorder, routing::Model, workers::Job};

/// State of the service, behind an `Arc`.
pub(crate) struct App {
    pub models: Models,
    pub queue: Arc<Queue<Job>>,
    /// Absent when an artifact is served without a store.
    pub store: Option<Store>,
    pub recorder: Option<Recorder>,
    pub registry: Registry,
    pub metrics: RequestMetrics,
    pub max_body_bytes: usize,
    pub deadline: Duration,
    pub accuracy_labels: u32,
    pub draining: AtomicBool,
}

/// The models by name. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Models(Arc<RwLock<BTreeMap<String, Arc<Model>>>>);

/// Counts of requests and of feedback.
#[derive(Clone)]
pub(crate) struct RequestMetrics {
    pub requests: IntCounterVec,
    pub feedback: IntCounterVec,
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
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(feedback.clone()))?;
        Ok(Self { requests, feedback })
    }
}

impl Models {
    pub fn get(&self, name: &str) -> Option<Arc<Model>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub fn get_or_add(&self, name: &str) -> Arc<Model> {
        let mut models = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(models.entry(name.to_owned()).or_insert_with(|| Arc::new(Model::new(name))))
    }

    pub fn all(&self) -> Vec<Arc<Model>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl App {
    /// Whether requests should be sent here: there is a model, and all have a version that answers.
    pub fn is_ready(&self) -> bool {
        let models = self.models.all();
        let answers = |model: &Arc<Model>| model.routing().champion.is_some();
        !self.is_draining() && !models.is_empty() && models.iter().all(answers)
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Brings the gauges up to date and writes all metrics in the text format.
    pub async fn render_metrics(&self) -> Result<String, prometheus::Error> {
        for model in self.models.all() {
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
