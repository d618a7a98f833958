use crate::run::{Run, Status};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
};
use refit_metrics::Registry;

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
            runs: counter(
                "refit_trainer_runs_total",
                "Runs that ended: succeeded, failed or cancelled.",
                &["model", "outcome"],
            )?,
            step_duration,
            tokens: counter(
                "refit_trainer_tokens_total",
                "Tokens trained on, padding left out.",
                &["model"],
            )?,
            tokens_a_second: gauge(
                "refit_trainer_tokens_per_second",
                "Tokens of the last step by its time; absent while the model is not trained, as loss, progress and \
                 memory are.",
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
                "Memory that the process of the run holds.",
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

    /// The numbers of one model's run. What is not known yet has no value: a loss of 0 before the first step would be a
    /// lie.
    pub fn of(&self, model: &str) -> OfRun {
        OfRun {
            model: model.to_owned(),
            step_duration: self.step_duration.with_label_values(&[model]),
            tokens: self.tokens.with_label_values(&[model]),
            tokens_a_second: self.tokens_a_second.clone(),
            loss: self.loss.clone(),
            progress: self.progress.clone(),
            memory: self.memory.clone(),
        }
    }
}

/// The numbers of one model's run.
pub struct OfRun {
    model: String,
    step_duration: Histogram,
    tokens: IntCounter,
    tokens_a_second: GaugeVec,
    loss: GaugeVec,
    progress: GaugeVec,
    memory: GaugeVec,
}

impl OfRun {
    /// A step was made.
    pub fn step(&self, event: &serde_json::Value) {
        let number = |name: &str| event[name].as_f64();
        let (Some(seconds), Some(tokens)) = (number("seconds"), event["tokens"].as_u64()) else { return };
        self.step_duration.observe(seconds);
        self.tokens.inc_by(tokens);
        if seconds > 0.0 {
            self.set(&self.tokens_a_second, tokens as f64 / seconds);
        }
        if let Some(loss) = number("loss") {
            self.set(&self.loss, loss);
        }
        if let (Some(step), Some(total)) = (number("step"), number("total")) {
            self.set(&self.progress, (step + 1.0) / total.max(1.0));
        }
    }

    /// The process holds so much.
    pub fn memory(&self, bytes: f64) {
        self.set(&self.memory, bytes);
    }

    fn set(&self, gauge: &GaugeVec, value: f64) {
        gauge.with_label_values(&[self.model.as_str()]).set(value);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use refit_metrics::Section;

    use super::*;

    #[test]
    fn the_inventory_is_what_the_trainer_registers() {
        let registry = Registry::new();
        Metrics::register(&registry).unwrap();
        let families = registry.inventory();
        assert_eq!(families.iter().find_map(refit_metrics::MetricFamily::problem), None);

        let command = "cargo test -p refit-training --lib inventory";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let section = Section { title: "Trainer", command, families: &families };
        let wanted = section.in_page(&page).expect("docs/metrics.md has the section");
        if std::env::var_os("REFIT_REGENERATE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        } else {
            assert!(page == wanted, "docs/metrics.md is stale: run REFIT_REGENERATE=1 {command}");
        }
    }
}
