use std::{
    collections::BTreeMap,
    panic,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::Instant,
};

use prometheus::{Histogram, IntCounter};
use refit_artifact::Bundle;
use refit_engine::without_panic;
use refit_predictor::{Engines, Form, Input, LoadOptions, Predictor, PredictorError, Worker};
use refit_spec::Task;

use crate::{
    config::MonitorConfig,
    error::LoadError,
    memory::{GiveBack, GivenBack},
    monitor::{MonitorMetrics, Watch},
    numa::Placement,
    residence::model_bytes,
    scheduling::{Curves, Likeness, Pace, pace},
    workers::WorkMetrics,
};

/// A version of a model that is ready to answer. Dropping the last reference frees its memory.
pub(crate) struct LoadedModel {
    pub name: Arc<str>,
    pub version: Arc<str>,
    /// Tells this load from others of the same version.
    pub load: u64,
    /// How many sessions there are, by the threads that a run of theirs has.
    pub sessions: BTreeMap<usize, usize>,
    /// What it holds, about.
    pub memory_bytes: u64,
    pub labels: Arc<[Arc<str>]>,
    pub predictor: Predictor,
    /// How its texts are computed on this machine.
    pub pace: Pace,
    pub watch: Watch,
    pub phases: Phases,
    pub counters: Counters,
    /// Last, after all that holds memory.
    _given_back: GivenBack,
}

/// This version's share of the time histogram.
pub(crate) struct Phases {
    pub queue: Histogram,
    pub tokenize: Histogram,
    pub compute: Histogram,
    pub total: Histogram,
    /// Texts of a run.
    pub batch: Histogram,
}

/// This version's share of the counters.
pub(crate) struct Counters {
    pub predictions: IntCounter,
    pub failures: IntCounter,
    pub tokens: IntCounter,
    pub wide: IntCounter,
}

/// All that is the same for every version that is loaded.
#[derive(Clone)]
pub(crate) struct Loader {
    pub engines: Engines,
    pub form: Form,
    pub placement: Arc<Placement>,
    pub curves: Curves,
    pub monitor: MonitorConfig,
    pub work_metrics: WorkMetrics,
    pub monitor_metrics: MonitorMetrics,
    pub give_back: GiveBack,
}

impl Loader {
    /// Opens and verifies an artifact, loads it, replays its golden examples, and runs every session once. Takes
    /// as long as that takes: call it where blocking is allowed. `expected` is the model and version that the store
    /// says it is; without, the manifest's.
    pub fn load(&self, path: &Path, expected: Option<(&str, &str)>) -> Result<LoadedModel, LoadError> {
        // Weights and sessions come to lie where the thread runs that makes them.
        let loaded = without_panic(|| {
            self.placement.run_at(0, || self.load_bundle(Bundle::open_to_load(path)?, expected))
        });
        // What only the load needed is as much as the model. What this thread has freed only this thread can collect.
        (self.give_back.collect)();
        self.give_back.soon();
        loaded.unwrap_or_else(|panic| Err(LoadError::Panicked(panic)))
    }

    /// The same on a thread where blocking is allowed.
    pub async fn load_apart(
        &self,
        path: PathBuf,
        expected: Option<(String, String)>,
    ) -> Result<LoadedModel, LoadError> {
        let loader = self.clone();
        let load = move || {
            let expected = expected.as_ref().map(|(model, version)| (model.as_str(), version.as_str()));
            loader.load(&path, expected)
        };
        tokio::task::spawn_blocking(load)
            .await
            .unwrap_or_else(|error| Err(LoadError::Panicked(error.to_string())))
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
        let options = LoadOptions {
            form: self.form.clone(),
            threads: 1,
            workers: self.placement.workers(),
            places: self.placement.places().len(),
        };
        let predictor = Predictor::load(&bundle, &self.engines, &options)?;
        self.warm(&predictor)?;
        let pace = self.pace(&bundle, &predictor, name)?;
        self.warm_wide(&predictor, pace.threads)?;
        let choice = predictor.choice();
        tracing::info!(
            model = name,
            version,
            engine = choice.engine,
            engine_version = predictor.engine_version(),
            precision = choice.precision.name(),
            device = choice.device.name(),
            reason = choice.reason,
            largest_batch = pace.largest_batch,
            lone_threads = pace.threads,
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
                batch: self.work_metrics.batch.with_label_values(&labels),
            },
            counters: Counters {
                predictions: self.work_metrics.predictions.with_label_values(&labels),
                failures: self.work_metrics.failures.with_label_values(&labels),
                tokens: self.work_metrics.tokens.with_label_values(&labels),
                wide: self.work_metrics.wide.with_label_values(&labels),
            },
            sessions: self.sessions(pace.threads),
            pace,
            load: LOADS.fetch_add(1, Ordering::Relaxed),
            memory_bytes: self.copies() * bundle.file(&choice.file).map_or(0, |file| model_bytes(&file)),
            name: name.into(),
            version: version.into(),
            labels: predictor.labels().into(),
            predictor,
            _given_back: GivenBack(self.give_back),
        })
    }
}

impl Loader {
    /// Measures the version, or takes the curve of its like.
    fn pace(&self, bundle: &Bundle, predictor: &Predictor, name: &str) -> Result<Pace, LoadError> {
        /// Enough to see whether answers depend on their neighbours; more only take longer.
        const PROBES: usize = 4;
        let choice = predictor.choice();
        let likeness = Likeness {
            model: name.to_owned(),
            engine: choice.engine.clone(),
            engine_version: predictor.engine_version().to_owned(),
            precision: choice.precision.name(),
            device: choice.device.name(),
            file_bytes: bundle.file(&choice.file).map_or(0, |file| file_bytes(&file)),
            threads: self.placement.most_cores(),
        };
        let golden = bundle.golden()?;
        let examples = golden.examples.iter().take(PROBES);
        let probes: Vec<Input<'_>> =
            examples.map(|example| Input { text: &example.text, pair: example.pair.as_deref() }).collect();
        Ok(pace(predictor, likeness, &probes, &self.curves)?)
    }
}

impl Loader {
    /// Copies of a model's weights: one a place.
    pub fn copies(&self) -> u64 {
        self.placement.places().len() as u64
    }

    /// Makes a session for each worker thread, where that thread is, and runs it once. The first place's session for lone
    /// texts too, which is measured next.
    fn warm(&self, predictor: &Predictor) -> Result<(), PredictorError> {
        for (index, place) in self.placement.places().iter().enumerate() {
            self.placement.run_at(index, || {
                // It loads the weights of its place; the others share them, and come side by side.
                let first = predictor.worker_at(index)?;
                let narrow = || predictor.worker_at(index).map(Some);
                let wide = || predictor.wide_worker_at(index, place.cores);
                let has_wide = index == 0 && place.cores > 1;
                let mut workers = thread::scope(|scope| {
                    let mut making: Vec<_> = (1..place.workers).map(|_| scope.spawn(narrow)).collect();
                    making.extend(has_wide.then(|| scope.spawn(wide)));
                    let join = |thread: ScopedJoinHandle<'_, _>| {
                        thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
                    };
                    making.into_iter().map(join).collect::<Result<Vec<Option<Worker>>, _>>()
                })?;
                workers.push(Some(first));
                workers.iter_mut().flatten().try_for_each(|worker| run_once(predictor, worker))
            })?;
        }
        Ok(())
    }

    /// Makes the sessions for lone texts; the first place has its own since it was measured.
    fn warm_wide(&self, predictor: &Predictor, threads: usize) -> Result<(), PredictorError> {
        for (index, place) in self.placement.places().iter().enumerate().skip(1) {
            let threads = threads.min(place.cores);
            if threads > 1 {
                self.placement.run_at(index, || match predictor.wide_worker_at(index, threads)? {
                    Some(mut wide) => run_once(predictor, &mut wide),
                    None => Ok(()),
                })?;
            }
        }
        Ok(())
    }

    /// The sessions of a version whose lone texts may have so many threads.
    fn sessions(&self, threads: usize) -> BTreeMap<usize, usize> {
        let mut sessions = BTreeMap::from([(1, self.placement.workers())]);
        for place in self.placement.places() {
            let threads = threads.min(place.cores);
            if threads > 1 {
                *sessions.entry(threads).or_default() += 1;
            }
        }
        sessions
    }
}

/// Counts the loads of this process.
static LOADS: AtomicU64 = AtomicU64::new(0);

fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Runs a worker once, so that no request pays for the first run of its session.
fn run_once(predictor: &Predictor, worker: &mut Worker) -> Result<(), PredictorError> {
    let pair = (predictor.task() == Task::QuestionAnswering).then_some("warm-up");
    worker.predict(Input { text: "warm-up", pair }).map(drop)
}
