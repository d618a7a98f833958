use std::{
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
    time::Duration,
};

use refit_predictor::{EngineConfig, Form};
use refit_spec::{DeviceChoice, EngineChoice, LimitsSpec, SamplingSpec, Spec, TelemetrySpec, TlsSpec};
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
    /// Threads that compute, each with a session of its own; spread over the NUMA nodes where there are several.
    pub workers: usize,
    /// Cores that one text may have while it is the only one, as far as they share a NUMA node.
    pub cores: usize,
    /// Threads that compute where a GPU does, in place of `workers`: one prepares its texts while it runs those of another.
    /// The fewer there are, the more of what waits goes into one run.
    pub gpu_workers: usize,
    /// Texts of a model that may wait; a request that would make it more is answered with 429.
    pub queue: usize,
    /// Runs of a model at a time; none stands for as many as there are workers.
    pub runs_per_model: Option<usize>,
    /// The time that 99 of 100 requests shall take at most: no text is made later than this by waiting for others to
    /// share its run. None stands for the deadline.
    pub p99: Option<Duration>,
    /// Bytes that the models together may hold: those not asked for the longest time give way, and are loaded again when
    /// they are asked for. None stands for as many as there are.
    pub memory_budget: Option<u64>,
    /// Models that never give way.
    pub pinned: Vec<String>,
    /// Bytes of answers that are kept to be given again for the same text; 0 keeps none.
    pub cache_bytes: u64,
    /// Whether concurrent requests for the same text share one computation; with a cache they always do.
    pub coalesce: bool,
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
    /// Which texts are kept for training.
    pub sampling: SamplingSpec,
    /// The file of tokens that callers have to show one of; without one nobody is asked.
    pub tokens: Option<PathBuf>,
    /// What one caller may take up.
    pub limits: LimitsSpec,
    /// The certificate; without one connections are plain.
    pub tls: Option<TlsSpec>,
    /// A second address that answers health and metrics to everybody, always in plain HTTP.
    pub monitoring: Option<SocketAddr>,
    /// Whether the log holds what was asked and answered.
    pub log_payloads: bool,
    /// Where spans of requests are sent.
    pub telemetry: Option<TelemetrySpec>,
    /// Asks the process's allocator to give back what it keeps, on the calling thread: after each load, and after a version
    /// has left. Nothing by default; the system's allocator is asked anyway.
    pub collect: fn(),
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
            engines: EngineConfig {
                cache: cache.to_owned(),
                onnxruntime_library: None,
                device: DeviceChoice::Auto,
            },
            form: Form::AsManifest,
            workers: cores(),
            cores: cores(),
            gpu_workers: 2,
            queue: 256,
            runs_per_model: None,
            p99: None,
            memory_budget: None,
            pinned: Vec::new(),
            cache_bytes: 0,
            coalesce: false,
            max_body_bytes: 1 << 20,
            deadline: Duration::from_secs(10),
            poll: Duration::from_millis(500),
            drain: DrainConfig { delay: Duration::from_secs(1), timeout: Duration::from_secs(20) },
            monitor: MonitorConfig::default(),
            record: RecordConfig::default(),
            sampling: SamplingSpec::default(),
            tokens: None,
            limits: LimitsSpec::default(),
            tls: None,
            monitoring: None,
            log_payloads: false,
            telemetry: None,
            collect: || {},
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
        config.engines.device = match spec.serve.engine {
            EngineChoice::Tract => DeviceChoice::Cpu,
            EngineChoice::Auto | EngineChoice::OnnxRuntime => spec.serve.device,
        };
        if let Some(sessions) = spec.serve.sessions {
            (config.workers, config.gpu_workers) = (sessions, sessions);
        }
        config.queue = spec.serve.queue;
        config.runs_per_model = spec.serve.sessions_per_model;
        config.memory_budget = spec.serve.memory_budget;
        config.pinned = vec![spec.model.name.clone()];
        (config.cache_bytes, config.coalesce) = (spec.serve.cache_bytes, spec.serve.coalesce);
        config.p99 = spec.serve.p99.map(|span| span.0);
        config.max_body_bytes = spec.serve.max_body_bytes;
        config.deadline = spec.serve.deadline.0;
        config.guard(spec);
        let drift = &spec.monitor.drift;
        config.monitor.window = drift.window.0;
        config.monitor.drift =
            DriftPolicy { alpha: drift.alpha(), floor: drift.min_psi, min_observations: drift.min_rows };
        config
    }
}

impl ServeConfig {
    /// Takes over what the spec says of access, limits and what leaves the service; paths start at its folder.
    fn guard(&mut self, spec: &Spec) {
        let serve = &spec.serve;
        self.sampling = serve.sampling.clone();
        self.tokens = serve.tokens.as_ref().map(|path| spec.base_dir.join(path));
        self.limits = serve.limits.clone();
        self.tls = serve.tls.as_ref().map(|tls| TlsSpec {
            certificate: spec.base_dir.join(&tls.certificate),
            key: spec.base_dir.join(&tls.key),
        });
        self.monitoring = serve.monitoring;
        self.log_payloads = serve.log_payloads;
        self.telemetry = serve.telemetry.clone();
    }
}

/// The cores that this process may use: on Linux what its affinity leaves and the quotas of its cgroups (version 1 and
/// 2) pay for, so a container with 2 of 64 cores has 2.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_gpu_is_for_the_engine_that_can_use_one() {
        let config = |serve: &str| {
            let text = "[model]\nname='m'\nbase='file:b'\n[data]\ntrain='file:r.csv'\n[serve]\n";
            let spec = Spec::parse(&format!("{text}{serve}\n"), Path::new("/")).unwrap();
            ServeConfig::from_spec(&spec, Path::new("/home"), Path::new("/cache"))
        };
        for (serve, device) in [
            ("", DeviceChoice::Auto),
            ("device = 'cuda'", DeviceChoice::Cuda),
            ("device = 'cpu'", DeviceChoice::Cpu),
            ("engine = 'onnxruntime'", DeviceChoice::Auto),
            ("engine = 'tract'", DeviceChoice::Cpu),
        ] {
            assert_eq!(config(serve).engines.device, device, "{serve}");
        }
        assert_eq!((config("").workers, config("").gpu_workers), (cores(), 2));
        assert_eq!((config("sessions = 5").workers, config("sessions = 5").gpu_workers), (5, 5));
    }

    /// A thread that may use one core, as in a container with one.
    #[cfg(target_os = "linux")]
    #[test]
    fn cores_are_those_that_it_may_use() {
        let few = std::thread::spawn(|| {
            // SAFETY: a set of zeroes is a valid, empty one; it lives in this frame, and thread 0 is the calling one.
            let done = unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                let mut allowed: libc::cpu_set_t = std::mem::zeroed();
                let size = std::mem::size_of::<libc::cpu_set_t>();
                libc::sched_getaffinity(0, size, &mut allowed);
                let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &allowed));
                libc::CPU_SET(first.unwrap(), &mut set);
                libc::sched_setaffinity(0, size, &set)
            };
            assert_eq!(done, 0);
            super::cores()
        });
        assert_eq!(few.join().unwrap(), 1);
    }
}
