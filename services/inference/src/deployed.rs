//! What the metrics say about the versions that serve, and how another routing is put in place.

use std::sync::Arc;

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts};
use refit_metrics::Registry;
use refit_predictor::Choice;

use crate::{
    loaded::LoadedModel,
    routing::{Model, Routing},
};

/// Which versions serve, and what became of the attempts to load others.
#[derive(Clone)]
pub(crate) struct DeploymentMetrics {
    served: IntGaugeVec,
    since: IntGaugeVec,
    engine: IntGaugeVec,
    curve: GaugeVec,
    memory: IntGaugeVec,
    sessions: IntGaugeVec,
    pub evictions: IntCounterVec,
    swaps: IntCounterVec,
    pub load_failures: IntCounterVec,
    pub store_failures: prometheus::IntCounter,
}

impl DeploymentMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let served = IntGaugeVec::new(
            Opts::new("refit_served_version", "1 for each version that answers, by its role."),
            &["model", "version", "role"],
        )?;
        let since = IntGaugeVec::new(
            Opts::new(
                "refit_served_since_timestamp_seconds",
                "When each version took its role, in Unix time.",
            ),
            &["model", "version", "role"],
        )?;
        let engine = IntGaugeVec::new(
            Opts::new(
                "refit_engine_info",
                "1 for each version that answers: its engine, precision, device (cpu or cuda), and why.",
            ),
            &["model", "version", "engine", "precision", "device", "reason"],
        )?;
        let curve = GaugeVec::new(
            Opts::new(
                "refit_latency_curve_seconds",
                "Measured at load on this machine: a run of so many texts of so many tokens on so many threads.",
            ),
            &["model", "version", "texts", "tokens", "threads"],
        )?;
        let memory = IntGaugeVec::new(
            Opts::new(
                "refit_model_memory_bytes",
                "Memory of each loaded version, about: its weights as in the file and as products want them.",
            ),
            &["model", "version"],
        )?;
        let sessions = IntGaugeVec::new(
            Opts::new(
                "refit_sessions",
                "Sessions of each loaded version, by the threads that a run of theirs has.",
            ),
            &["model", "version", "threads"],
        )?;
        let evictions = IntCounterVec::new(
            Opts::new(
                "refit_model_evictions_total",
                "Times that a model gave way to others for lack of memory.",
            ),
            &["model"],
        )?;
        let swaps =
            IntCounterVec::new(Opts::new("refit_model_swaps_total", "Changes of the champion."), &["model"])?;
        let load_failures = IntCounterVec::new(
            Opts::new("refit_model_load_failures_total", "Versions that could not be loaded."),
            &["model", "version"],
        )?;
        let store_failures = prometheus::IntCounter::new(
            "refit_store_failures_total",
            "Times that the store could not be asked for the deployments.",
        )?;
        registry.register(Box::new(served.clone()))?;
        registry.register(Box::new(since.clone()))?;
        registry.register(Box::new(engine.clone()))?;
        registry.register(Box::new(curve.clone()))?;
        registry.register(Box::new(memory.clone()))?;
        registry.register(Box::new(sessions.clone()))?;
        registry.register(Box::new(evictions.clone()))?;
        registry.register(Box::new(swaps.clone()))?;
        registry.register(Box::new(load_failures.clone()))?;
        registry.register(Box::new(store_failures.clone()))?;
        Ok(Self {
            served,
            since,
            engine,
            curve,
            memory,
            sessions,
            evictions,
            swaps,
            load_failures,
            store_failures,
        })
    }

    /// Tells what serves now instead of `before`.
    fn publish(&self, model: &str, before: &Routing, after: &Routing) {
        for (serving, role) in before.loaded() {
            let (version, choice) = (&*serving.model.version, serving.model.predictor.choice());
            let _ = self.served.remove_label_values(&[model, version, role.name()]);
            let _ = self.since.remove_label_values(&[model, version, role.name()]);
            let engine = engine_labels(model, version, choice);
            let _ = self.engine.remove_label_values(&engine);
            let _ = self.memory.remove_label_values(&[model, version]);
            each_session(&serving.model, |labels, _| drop(self.sessions.remove_label_values(labels)));
            self.each_point(&serving.model, |labels, _| drop(self.curve.remove_label_values(labels)));
        }
        for (serving, role) in after.loaded() {
            let (version, choice) = (&*serving.model.version, serving.model.predictor.choice());
            self.served.with_label_values(&[model, version, role.name()]).set(1);
            self.since.with_label_values(&[model, version, role.name()]).set(serving.since.as_second());
            let engine = engine_labels(model, version, choice);
            self.engine.with_label_values(&engine).set(1);
            let bytes = i64::try_from(serving.model.memory_bytes).unwrap_or(i64::MAX);
            self.memory.with_label_values(&[model, version]).set(bytes);
            each_session(&serving.model, |labels, count| {
                self.sessions.with_label_values(labels).set(count);
            });
            self.each_point(&serving.model, |labels, seconds| {
                self.curve.with_label_values(labels).set(seconds);
            });
        }
        let champion = |routing: &Routing| routing.champion.as_ref().map(|it| Arc::clone(&it.model.version));
        if let (Some(old), Some(new)) = (champion(before), champion(after))
            && old != new
        {
            self.swaps.with_label_values(&[model]).inc();
        }
    }

    /// The labels of each point of a version's curve, and its seconds.
    fn each_point(&self, model: &LoadedModel, mut with: impl FnMut(&[&str], f64)) {
        for point in model.pace.curve.points() {
            let [texts, tokens, threads] = [point.texts, point.tokens, point.threads].map(|n| n.to_string());
            with(&[&model.name, &model.version, &texts, &tokens, &threads], point.seconds);
        }
    }
}

/// The labels of `refit_engine_info`.
fn engine_labels<'a>(model: &'a str, version: &'a str, choice: &'a Choice) -> [&'a str; 6] {
    let (precision, device) = (choice.precision.name(), choice.device.name());
    [model, version, &choice.engine, precision, device, &choice.reason]
}

/// The labels of each kind of a version's sessions, and how many there are.
fn each_session(model: &LoadedModel, mut with: impl FnMut(&[&str], i64)) {
    for (threads, count) in &model.sessions {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        with(&[&model.name, &model.version, &threads.to_string()], count);
    }
}

/// Puts `routing` in place: the metrics follow, and versions that no longer serve are not watched any more.
pub(crate) fn install(model: &Model, routing: Routing, metrics: &DeploymentMetrics) {
    let before = model.replace(routing);
    let after = model.routing();
    metrics.publish(&model.name, &before, &after);
    for (serving, _) in before.serving() {
        if after.version(&serving.model.version).is_none() {
            serving.model.watch.retire();
        }
    }
    for (serving, role) in after.loaded() {
        let version = &*serving.model.version;
        tracing::info!(model = %model.name, version, role = role.name(), generation = after.generation, "serving");
    }
}
