use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use refit_spec::{Metric, Spec, Trigger as SpecTrigger};

use crate::plan::{Mode, Policy, Seconds, Trigger};

/// What the scheduler runs on.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// What the model is.
    pub spec: Spec,
    /// Its file, handed to child processes.
    pub spec_path: PathBuf,
    /// Store, artifacts and run folders.
    pub home: PathBuf,
    /// refit's cache, handed to child processes; their own default if `None`.
    pub cache: Option<PathBuf>,
    /// The `refit` binary that trains and gates.
    pub binary: PathBuf,
    /// Base addresses of the inference services (`http://127.0.0.1:8080`), one a replica.
    pub inference: Vec<String>,
    /// What the inference services ask for before they show their metrics.
    pub inference_token: Option<String>,
    /// Where the control API and console page listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// How often to look.
    pub poll: Duration,
    /// Act, or only say what one would do.
    pub mode: Mode,
    /// Attempts of a child process before a run is given up.
    pub max_attempts: u32,
    /// A canary may be this many times slower than the champion (95th percentile).
    pub canary_max_latency_ratio: f64,
    /// How long an observation may be missing before it raises an alarm.
    pub missing_grace: Duration,
    /// Labels may take this long to begin to arrive before their absence raises an alarm.
    pub label_grace: Duration,
    /// At most this many labelled rows, the latest, are given to a training.
    pub max_additional_rows: usize,
}

impl SchedulerConfig {
    /// What a checked `refit.toml` says, for the models of `home`. `binary` is usually the running program itself.
    pub fn from_spec(spec: Spec, spec_path: &Path, home: &Path, binary: &Path) -> Self {
        Self {
            spec_path: spec_path.to_owned(),
            home: home.to_owned(),
            cache: None,
            binary: binary.to_owned(),
            inference: vec![format!("http://{}", spec.serve.monitoring.unwrap_or(spec.serve.address))],
            inference_token: None,
            address: spec.refit.address,
            poll: spec.refit.poll.0,
            mode: Mode::Act,
            max_attempts: 3,
            canary_max_latency_ratio: 1.5,
            missing_grace: Duration::from_secs(60),
            label_grace: Duration::from_secs(24 * 3600),
            max_additional_rows: 50_000,
            spec,
        }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.spec.model.name
    }

    /// What the planner may do.
    pub fn policy(&self) -> Policy {
        let refit = &self.spec.refit;
        Policy {
            mode: self.mode,
            triggers: refit.when.iter().map(trigger).collect(),
            min_new_labels: refit.min_labels,
            cooldown: seconds(refit.cooldown.0),
            max_runs_per_day: refit.max_runs_per_day,
            max_attempts: self.max_attempts,
            canary_steps: self.spec.serve.canary.steps.clone(),
            canary_min_requests: self.spec.serve.canary.min_requests,
            canary_max_latency_ratio: self.canary_max_latency_ratio,
            missing_grace: seconds(self.missing_grace),
        }
    }

    /// The tolerated rise of the error rate: the smallest margin among the triggers, 0.02 if none names one.
    pub fn margin(&self) -> f64 {
        let margins = self.spec.refit.when.iter().filter_map(|trigger| match trigger {
            SpecTrigger::MetricFalls { margin, .. } => Some(*margin),
            _ => None,
        });
        margins.reduce(f64::min).unwrap_or(0.02)
    }
}

fn trigger(trigger: &SpecTrigger) -> Trigger {
    match trigger {
        // Live labels are judged by the error rate, whichever summary of the test set the spec names.
        SpecTrigger::MetricFalls { metric, margin } => {
            let metric = if *metric == Metric::Accuracy { "accuracy".to_owned() } else { metric.to_string() };
            Trigger::Degradation { metric, margin: *margin }
        }
        SpecTrigger::Drift => Trigger::Drift,
        SpecTrigger::Every(span) => Trigger::Every(seconds(span.0)),
        SpecTrigger::NewLabels(count) => Trigger::NewLabels(*count),
    }
}

fn seconds(duration: Duration) -> Seconds {
    Seconds::try_from(duration.as_secs()).unwrap_or(Seconds::MAX)
}
