use std::{path::Path, sync::Arc, time::Instant};

use prometheus::{Histogram, IntCounter};
use refit_artifact::Bundle;
use refit_engine::without_panic;
use refit_predictor::{Engines, Form, Input, LoadOptions, Predictor};
use refit_spec::Task;

use crate::{
    config::MonitorConfig,
    error::LoadError,
    monitor::{MonitorMetrics, Watch},
    workers::WorkMetrics,
};

/// A version of a model that is ready to answer. Dropping the last reference frees its memory.
pub(crate) struct LoadedModel {
    pub name: Arc<str>,
    pub version: Arc<str>,
    pub labels: Arc<[Arc<str>]>,
    pub predictor: Predictor,
    pub watch: Watch,
    pub phases: Phases,
    pub counters: Counters,
}

/// This version's share of the time histogram.
pub(crate) struct Phases {
    pub queue: Histogram,
    pub tokenize: Histogram,
    pub compute: Histogram,
    pub total: Histogram,
}

/// This version's share of the counters.
pub(crate) struct Counters {
    pub predictions: IntCounter,
    pub failures: IntCounter,
}

/// All that is the same for every version that is loaded.
#[derive(Clone)]
pub(crate) struct Loader {
    pub engines: Engines,
    pub form: Form,
    pub workers: usize,
    pub monitor: MonitorConfig,
    pub work_metrics: WorkMetrics,
    pub monitor_metrics: MonitorMetrics,
}

impl Loader {
    /// Opens and verifies an artifact, loads it, replays its golden examples, and runs every session once. Takes
    /// as long as that takes: call it where blocking is allowed. `expected` is the model and version that the store
    /// says it is; without, the manifest's.
    pub fn load(&self, path: &Path, expected: Option<(&str, &str)>) -> Result<LoadedModel, LoadError> {
        without_panic(|| self.load_bundle(Bundle::open(path)?, expected))
            .unwrap_or_else(|panic| Err(LoadError::Panicked(panic)))
    }

    fn load_bundle(&self, bundle: Bundle, expected: Option<(&str, &str)>) -> Result<LoadedModel, LoadError> {
        let started = Instant::now();
        let manifest = bundle.manifest();
        let own = (manifest.model.as_str(), manifest.version.as_deref().unwrap_or("1"));
        let (name, version) = expected.unwrap_or(own);
        if name != manifest.model {
            let (expected, found) = (name.to_owned(), manifest.model.clone());
            return Err(LoadError::OtherModel { path: bundle.path().to_owned(), expected, found });
        }
        let options = LoadOptions { form: self.form.clone(), threads: 1, workers: self.workers };
        let predictor = Predictor::load(&bundle, &self.engines, &options)?;
        warm(&predictor, self.workers)?;
        let choice = predictor.choice();
        tracing::info!(
            model = name,
            version,
            engine = choice.engine,
            engine_version = predictor.engine_version(),
            precision = choice.precision.name(),
            reason = choice.reason,
            golden_max_abs = predictor.golden_replay().max_abs,
            seconds = started.elapsed().as_secs_f64(),
            "loaded"
        );
        let (duration, labels) = (&self.work_metrics.duration, [name, version]);
        let phase = |phase: &str| duration.with_label_values(&[name, version, phase]);
        Ok(LoadedModel {
            watch: Watch::new(labels, predictor.reference(), self.monitor, &self.monitor_metrics),
            phases: Phases {
                queue: phase("queue"),
                tokenize: phase("tokenize"),
                compute: phase("compute"),
                total: phase("total"),
            },
            counters: Counters {
                predictions: self.work_metrics.predictions.with_label_values(&labels),
                failures: self.work_metrics.failures.with_label_values(&labels),
            },
            name: name.into(),
            version: version.into(),
            labels: predictor.labels().into(),
            predictor,
        })
    }
}

/// Makes a session for each worker thread and runs it once, so that no request pays for the first run.
fn warm(predictor: &Predictor, count: usize) -> Result<(), LoadError> {
    for mut worker in predictor.sessions(count)? {
        let pair = (predictor.task() == Task::QuestionAnswering).then_some("warm-up");
        worker.predict(Input { text: "warm-up", pair })?;
    }
    Ok(())
}
