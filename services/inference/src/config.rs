use std::{
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
    time::Duration,
};

use refit_predictor::{EngineConfig, Form};
use refit_spec::{EngineChoice, Spec};
use refit_stats::DriftPolicy;

/// What the service runs on.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// What is served.
    pub source: Source,
    /// Where to listen; port 0 takes a free one ([`crate::Server::address`] tells which).
    pub address: SocketAddr,
    /// Where engines are looked for.
    pub engines: EngineConfig,
    /// Which form of the model is loaded.
    pub form: Form,
    /// Threads that compute, each with a session of its own.
    pub workers: usize,
    /// Texts that may wait; a request that would make it more is answered with 429.
    pub queue: usize,
    /// The largest request body.
    pub max_body_bytes: usize,
    /// The longest that a request may take, reading its body included; then it is answered with 503.
    pub deadline: Duration,
    /// How often the store is asked whether the deployment changed.
    pub poll: Duration,
    /// How the service stops.
    pub drain: DrainConfig,
    /// How answers are watched.
    pub monitor: MonitorConfig,
    /// How predictions are kept.
    pub record: RecordConfig,
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The deployments in the store of a home folder, followed as they change. Predictions and feedback are recorded.
    Home(PathBuf),
    /// One artifact for as long as the process runs; nothing is recorded.
    Artifact(PathBuf),
}

/// How the service stops.
#[derive(Clone, Copy, Debug)]
pub struct DrainConfig {
    /// How long it goes on taking connections after readiness has fallen, so that balancers notice.
    pub delay: Duration,
    /// How long requests that are under way may take to finish.
    pub timeout: Duration,
}

/// How answers are watched.
#[derive(Clone, Copy, Debug)]
pub struct MonitorConfig {
    /// Observations older than this are not judged.
    pub window: Duration,
    /// At most this many of the latest observations are judged.
    pub window_observations: usize,
    /// When a window counts as drifted.
    pub drift: DriftPolicy,
    /// Live accuracy is that of so many of the latest labels.
    pub accuracy_labels: u32,
    /// Coverage of the interval of live accuracy.
    pub confidence: f64,
}

/// How predictions are kept.
#[derive(Clone, Copy, Debug)]
pub struct RecordConfig {
    /// Predictions that may wait to be written; more are dropped and counted.
    pub queue: usize,
    /// Bytes of text that may wait to be written; more are dropped and counted.
    pub queue_bytes: usize,
    /// The longest that a prediction waits for others to be written with.
    pub interval: Duration,
    /// Age at which predictions without a label are forgotten.
    pub keep_unlabelled: Duration,
    /// Age at which predictions with a label are forgotten.
    pub keep_labelled: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl ServeConfig {
    /// The defaults for a source; engines are looked for in `cache`.
    pub fn new(source: Source, cache: &Path) -> Self {
        Self {
            source,
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            engines: EngineConfig { cache: cache.to_owned(), onnxruntime_library: None },
            form: Form::AsManifest,
            workers: std::thread::available_parallelism().map_or(1, NonZero::get),
            queue: 256,
            max_body_bytes: 1 << 20,
            deadline: Duration::from_secs(10),
            poll: Duration::from_millis(500),
            drain: DrainConfig { delay: Duration::from_secs(1), timeout: Duration::from_secs(20) },
            monitor: MonitorConfig::default(),
            record: RecordConfig::default(),
        }
    }

    /// What a checked `refit.toml` says, for the deployments of `home`.
    pub fn from_spec(spec: &Spec, home: &Path, cache: &Path) -> Self {
        let mut config = Self::new(Source::Home(home.to_owned()), cache);
        config.address = spec.serve.address;
        config.engines.onnxruntime_library =
            spec.serve.onnxruntime.as_ref().map(|library| spec.base_dir.join(library));
        config.form = match spec.serve.engine {
            EngineChoice::Auto => Form::AsManifest,
            EngineChoice::Tract => Form::InEngine("tract".into()),
            EngineChoice::OnnxRuntime => Form::InEngine("onnxruntime".into()),
        };
        if let Some(sessions) = spec.serve.sessions {
            config.workers = sessions;
        }
        config.queue = spec.serve.queue;
        config.max_body_bytes = spec.serve.max_body_bytes;
        config.deadline = spec.serve.deadline.0;
        let drift = &spec.monitor.drift;
        config.monitor.window = drift.window.0;
        config.monitor.drift =
            DriftPolicy { alpha: drift.alpha(), floor: drift.min_psi, min_observations: drift.min_rows };
        config
    }
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(3600),
            window_observations: 1000,
            drift: DriftPolicy::default(),
            accuracy_labels: 200,
            confidence: 0.95,
        }
    }
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self {
            queue: 10_000,
            queue_bytes: 64 << 20,
            interval: Duration::from_millis(100),
            keep_unlabelled: 30 * DAY,
            keep_labelled: 365 * DAY,
        }
    }
}
