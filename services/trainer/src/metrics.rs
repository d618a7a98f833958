use crate::run::{Run, Status};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry,
};

/// What the service tells Prometheus.
#[derive(Clone, Debug)]
pub struct Metrics {
    queue_depth: IntGauge,
    running: GaugeVec,
    runs: IntCounterVec,
    step_duration: HistogramVec,
    tokens: IntCounterVec,
    tokens_a_second: GaugeVec,
    loss: GaugeVec,
    progress: GaugeVec,
    memory: GaugeVec,
}

impl Metrics {
    /// Makes and registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let queue_depth = IntGauge::new("refit_trainer_queue_depth", "Runs that wait for a device.")?;
        registry.register(Box::new(queue_depth.clone()))?;
        let buckets = prometheus::exponential_buckets(0.001, 2.0, 18)?;
        let step_duration = HistogramVec::new(
            HistogramOpts::new("refit_trainer_step_duration_seconds", "Time of an optimizer step.")
                .buckets(buckets),
            &["model"],
        )?;
        registry.register(Box::new(step_duration.clone()))?;
        Ok(Self {
            queue_depth,
            running: gauge(
                "refit_trainer_running",
                "1 while a device trains a model.",
                &["model", "device"],
            )?,
            runs: counter("refit_trainer_runs_total", "Runs that ended.", &["model", "outcome"])?,
            step_duration,
            tokens: counter("refit_trainer_tokens_total", "Tokens trained on.", &["model"])?,
            tokens_a_second: gauge(
                "refit_trainer_tokens_per_second",
                "Tokens of the last step, padding left out, by its time.",
                &["model"],
            )?,
            loss: gauge("refit_trainer_loss", "Training loss of the last step.", &["model"])?,
            progress: gauge(
                "refit_trainer_progress_ratio",
                "Part of the run's steps that are done.",
                &["model"],
            )?,
            memory: gauge(
                "refit_trainer_memory_bytes",
                "Memory that the process of a run holds.",
                &["model"],
            )?,
        })
    }

    /// How many wait, and what is trained where.
    pub fn queue(&self, runs: &[Run]) {
        let waiting = runs.iter().filter(|run| run.status == Status::Queued).count();
        self.queue_depth.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.running.reset();
        for run in runs.iter().filter(|run| run.status == Status::Running) {
            let device = run.device.as_deref().unwrap_or_default();
            self.running.with_label_values(&[run.model.as_str(), device]).set(1.0);
        }
    }

    /// A run ended; what it was doing has no value any more.
    pub fn ended(&self, model: &str, status: Status) {
        self.runs.with_label_values(&[model, status.name()]).inc();
        self.forget(model);
    }

    /// What a run was doing has no value any more.
    pub fn forget(&self, model: &str) {
        for gauge in [&self.tokens_a_second, &self.loss, &self.progress, &self.memory] {
            let _ = gauge.remove_label_values(&[model]);
        }
    }

    /// The numbers of one model's run.
    pub fn of(&self, model: &str) -> OfRun {
        OfRun {
            step_duration: self.step_duration.with_label_values(&[model]),
            tokens: self.tokens.with_label_values(&[model]),
            tokens_a_second: self.tokens_a_second.with_label_values(&[model]),
            loss: self.loss.with_label_values(&[model]),
            progress: self.progress.with_label_values(&[model]),
            memory: self.memory.with_label_values(&[model]),
        }
    }
}

/// The numbers of one model's run.
pub struct OfRun {
    step_duration: Histogram,
    tokens: IntCounter,
    tokens_a_second: Gauge,
    loss: Gauge,
    progress: Gauge,
    memory: Gauge,
}

impl OfRun {
    /// A step was made.
    pub fn step(&self, event: &serde_json::Value) {
        let number = |name: &str| event[name].as_f64();
        let (Some(seconds), Some(tokens)) = (number("seconds"), event["tokens"].as_u64()) else { return };
        self.step_duration.observe(seconds);
        self.tokens.inc_by(tokens);
        if seconds > 0.0 {
            self.tokens_a_second.set(tokens as f64 / seconds);
        }
        if let Some(loss) = number("loss") {
            self.loss.set(loss);
        }
        if let (Some(step), Some(total)) = (number("step"), number("total")) {
            self.progress.set((step + 1.0) / total.max(1.0));
        }
    }

    /// The process holds so much.
    pub fn memory(&self, bytes: f64) {
        self.memory.set(bytes);
    }
}
