//! Follows the deployments in the store: loads what is to serve, and puts it in place once it is ready.
//!
//! The old version answers until the new one is verified, loaded and warm, and requests that have begun with it end with
//! it. A version that cannot be loaded changes nothing: it is logged once, counted, and tried again from time to time.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use refit_store::{Deployment, Store, StoreError};

use crate::{
    app::Models,
    error::{LoadError, chain},
    loaded::{LoadedModel, Loader},
    routing::{Model, Routing, Serving},
};

/// Which versions serve, and what became of the attempts to load others.
#[derive(Clone)]
pub(crate) struct DeploymentMetrics {
    served: IntGaugeVec,
    since: IntGaugeVec,
    engine: IntGaugeVec,
    swaps: IntCounterVec,
    load_failures: IntCounterVec,
    store_failures: prometheus::IntCounter,
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
                "1 for each version that answers: its engine, precision, and why.",
            ),
            &["model", "version", "engine", "precision", "reason"],
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
        registry.register(Box::new(swaps.clone()))?;
        registry.register(Box::new(load_failures.clone()))?;
        registry.register(Box::new(store_failures.clone()))?;
        Ok(Self { served, since, engine, swaps, load_failures, store_failures })
    }

    /// Tells what serves now instead of `before`.
    fn publish(&self, model: &str, before: &Routing, after: &Routing) {
        for (serving, role) in before.serving() {
            let (version, choice) = (&*serving.model.version, serving.model.predictor.choice());
            let _ = self.served.remove_label_values(&[model, version, role.name()]);
            let _ = self.since.remove_label_values(&[model, version, role.name()]);
            let engine = [model, version, &choice.engine, choice.precision.name(), &choice.reason];
            let _ = self.engine.remove_label_values(&engine);
        }
        for (serving, role) in after.serving() {
            let (version, choice) = (&*serving.model.version, serving.model.predictor.choice());
            self.served.with_label_values(&[model, version, role.name()]).set(1);
            self.since.with_label_values(&[model, version, role.name()]).set(serving.since.as_second());
            let engine = [model, version, &choice.engine, choice.precision.name(), &choice.reason];
            self.engine.with_label_values(&engine).set(1);
        }
        let champion = |routing: &Routing| routing.champion.as_ref().map(|it| Arc::clone(&it.model.version));
        if champion(before).is_some() && champion(before) != champion(after) {
            self.swaps.with_label_values(&[model]).inc();
        }
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
    for (serving, role) in after.serving() {
        let version = &*serving.model.version;
        tracing::info!(model = %model.name, version, role = role.name(), generation = after.generation, "serving");
    }
}

/// Asks the store and does what it says.
pub(crate) struct Follower {
    pub store: Store,
    pub home: PathBuf,
    pub loader: Loader,
    pub models: Models,
    pub metrics: DeploymentMetrics,
    /// Versions that could not be loaded, and when they may be tried again.
    pub failed: HashMap<(String, String), Instant>,
    pub store_was_reachable: bool,
}

/// A damaged artifact can be repaired, and a full memory be freed.
const RETRY_AFTER: Duration = Duration::from_secs(30);

impl Follower {
    /// Looks every `interval`, until the task is aborted.
    pub async fn run(mut self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let deployments = match self.store.deployments().await {
            Ok(deployments) => {
                self.store_was_reachable = true;
                deployments
            }
            Err(error) => {
                self.metrics.store_failures.inc();
                if std::mem::take(&mut self.store_was_reachable) {
                    tracing::error!(
                        error = chain(&error),
                        "the deployments cannot be read; serving goes on as it is"
                    );
                }
                return;
            }
        };
        for deployment in &deployments {
            self.apply(deployment).await;
        }
    }

    async fn apply(&mut self, deployment: &Deployment) {
        let model = self.models.get_or_add(&deployment.model);
        let current = model.routing();
        let complete = current.canary.is_some() == deployment.canary.is_some();
        if current.generation == deployment.generation && complete {
            return;
        }
        let Some(champion) = &deployment.champion else { return };
        let Some(loaded) = self.obtain(&current, &deployment.model, &champion.version).await else { return };
        let mut next = Routing {
            generation: deployment.generation,
            champion: Some(Serving { model: loaded, since: champion.since, reason: champion.reason.clone() }),
            canary: None,
        };
        if let Some(canary) = &deployment.canary
            && let Some(loaded) = self.obtain(&current, &deployment.model, &canary.version).await
        {
            let serving = Serving { model: loaded, since: canary.since, reason: canary.reason.clone() };
            next.canary = Some((serving, canary.percent));
        }
        let unchanged =
            current.generation == next.generation && current.canary.is_none() && next.canary.is_none();
        if !unchanged {
            install(&model, next, &self.metrics);
        }
    }

    /// The version, loaded: the one that serves already, or a new one.
    async fn obtain(&mut self, current: &Routing, model: &str, version: &str) -> Option<Arc<LoadedModel>> {
        if let Some((serving, _)) = current.version(version) {
            return Some(Arc::clone(&serving.model));
        }
        let key = (model.to_owned(), version.to_owned());
        if self.failed.get(&key).is_some_and(|again| Instant::now() < *again) {
            return None;
        }
        match self.load(model, version).await {
            Ok(loaded) => {
                self.failed.remove(&key);
                Some(Arc::new(loaded))
            }
            Err(error) => {
                self.metrics.load_failures.with_label_values(&[model, version]).inc();
                let goes_on = current.champion.as_ref().map_or("nothing", |serving| &serving.model.version);
                let first = self.failed.insert(key, Instant::now() + RETRY_AFTER).is_none();
                if first {
                    tracing::error!(
                        model,
                        version,
                        serving = goes_on,
                        error = chain(&error),
                        "cannot be loaded"
                    );
                }
                None
            }
        }
    }

    async fn load(&self, model: &str, version: &str) -> Result<LoadedModel, LoadError> {
        let registered = self.store.version(model, version).await?;
        let Some(artifact) = registered.artifact else {
            return Err(LoadError::NoArtifact { version: version.to_owned() });
        };
        let path = self.home.join(artifact);
        let (loader, model, version) = (self.loader.clone(), model.to_owned(), version.to_owned());
        tokio::task::spawn_blocking(move || loader.load(&path, Some((&model, &version))))
            .await
            .unwrap_or_else(|error| Err(LoadError::Panicked(error.to_string())))
    }
}

/// What an artifact that is served without store is routed as.
pub(crate) fn fixed(loaded: LoadedModel) -> Routing {
    let reason = "it is served from its folder, without a store".to_owned();
    let champion = Serving { model: Arc::new(loaded), since: Timestamp::now(), reason };
    Routing { generation: 1, champion: Some(champion), canary: None }
}

/// Publishes live accuracy of all serving versions.
pub(crate) async fn publish_accuracy(store: &Store, models: &Models, labels: u32) -> Result<(), StoreError> {
    for model in models.all() {
        let routing = model.routing();
        for (serving, _role) in routing.serving() {
            let tally = store.recent_tally(&model.name, &serving.model.version, labels).await?;
            serving.model.watch.publish_accuracy(tally);
        }
    }
    Ok(())
}
