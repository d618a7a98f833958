//! Watching what is answered: every observation is counted into the artifact's reference bins, and a sliding window of
//! the latest ones is compared with the reference.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};
use refit_artifact::Reference;
use refit_metrics::Registry;
use refit_predictor::Observation;
use refit_stats::{DriftVerdict, FeatureCounts, FeatureDrift, judge_drift, wilson};
use refit_store::{LabelledTally, NewDriftSnapshot};

use crate::{config::MonitorConfig, error::chain};

/// The metrics of all versions.
#[derive(Clone)]
pub(crate) struct MonitorMetrics {
    observations: IntCounterVec,
    reference: IntGaugeVec,
    window: IntGaugeVec,
    psi: GaugeVec,
    p_value: GaugeVec,
    drifted: IntGaugeVec,
    accuracy: GaugeVec,
    accuracy_lower: GaugeVec,
    accuracy_upper: GaugeVec,
    accuracy_labels: IntGaugeVec,
}

impl MonitorMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        const VERSION: [&str; 2] = ["model", "version"];
        const FEATURE: [&str; 3] = ["model", "version", "feature"];
        const BIN: [&str; 4] = ["model", "version", "feature", "bin"];
        let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<GaugeVec, prometheus::Error> {
            let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let int_gauge = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let observations = IntCounterVec::new(
            Opts::new("refit_observations_total", "Answers by feature and bin of the reference."),
            &BIN,
        )?;
        registry.register(Box::new(observations.clone()))?;
        Ok(Self {
            observations,
            reference: int_gauge(
                "refit_reference_observations",
                "Held-out rows at training time by feature and bin.",
                &BIN,
            )?,
            window: int_gauge(
                "refit_drift_window_observations",
                "Answers in the window that is judged.",
                &VERSION,
            )?,
            psi: gauge(
                "refit_drift_psi",
                "Population stability index of the window against the reference; absent while there are too few answers.",
                &FEATURE,
            )?,
            p_value: gauge(
                "refit_drift_p_value",
                "p-value of that index, corrected for sample sizes and for the number of features.",
                &FEATURE,
            )?,
            drifted: int_gauge("refit_drift_detected", "1 if the feature has drifted, 0 if not.", &FEATURE)?,
            accuracy: gauge(
                "refit_live_accuracy",
                "Part of the latest labelled answers that were right; absent without labels.",
                &VERSION,
            )?,
            accuracy_lower: gauge(
                "refit_live_accuracy_lower",
                "Lower end of its Wilson interval.",
                &VERSION,
            )?,
            accuracy_upper: gauge(
                "refit_live_accuracy_upper",
                "Upper end of its Wilson interval.",
                &VERSION,
            )?,
            accuracy_labels: int_gauge("refit_live_accuracy_labels", "Labels that it rests on.", &VERSION)?,
        })
    }
}

/// Watches one version of a model.
pub(crate) struct Watch {
    labels: [String; 2],
    reference: Reference,
    config: MonitorConfig,
    counters: Vec<Vec<IntCounter>>,
    metrics: MonitorMetrics,
    window: Mutex<Window>,
    /// As it was judged last.
    drifted: AtomicBool,
}

/// The latest observations, and how many of them are in each bin of each feature.
struct Window {
    observations: VecDeque<(Instant, Vec<Option<usize>>)>,
    counts: Vec<Vec<u64>>,
    /// Set once the version is no longer served: its gauges are gone and stay so.
    retired: bool,
}

impl Watch {
    pub fn new(
        labels: [&str; 2],
        reference: &Reference,
        config: MonitorConfig,
        metrics: &MonitorMetrics,
    ) -> Self {
        let mut counters = Vec::new();
        for distribution in &reference.distributions {
            let bins = distribution.bin_labels();
            for (bin, &count) in bins.iter().zip(&distribution.counts) {
                let gauge =
                    metrics.reference.with_label_values(&[labels[0], labels[1], &distribution.feature, bin]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            let counter = |bin: &String| {
                metrics.observations.with_label_values(&[labels[0], labels[1], &distribution.feature, bin])
            };
            counters.push(bins.iter().map(counter).collect());
        }
        let counts =
            reference.distributions.iter().map(|distribution| vec![0; distribution.bins()]).collect();
        Self {
            labels: labels.map(str::to_owned),
            reference: reference.clone(),
            config,
            counters,
            metrics: metrics.clone(),
            window: Mutex::new(Window { observations: VecDeque::new(), counts, retired: false }),
            drifted: AtomicBool::new(false),
        }
    }

    /// Whether the window had drifted when it was judged last.
    pub fn is_drifted(&self) -> bool {
        self.drifted.load(Ordering::Relaxed)
    }

    /// Counts one answer.
    pub fn observe(&self, observation: &Observation, now: Instant) {
        let bins = observation.bins(&self.reference);
        for (counters, bin) in self.counters.iter().zip(&bins) {
            if let Some(counter) = bin.and_then(|bin| counters.get(bin)) {
                counter.inc();
            }
        }
        let mut window = self.lock();
        window.add(now, bins);
        window.forget(&self.config, now);
    }

    /// Judges the window and sets the gauges. What cannot be judged has no gauge: no data is not "no drift".
    pub fn publish_drift(&self, now: Instant) -> Option<NewDriftSnapshot> {
        let mut window = self.lock();
        if window.retired {
            return None;
        }
        window.forget(&self.config, now);
        let [model, version] = [self.labels[0].as_str(), self.labels[1].as_str()];
        self.metrics.window.with_label_values(&[model, version]).set(window.observations.len() as i64);
        let verdicts = match self.judge(&window) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                tracing::error!(model, version, error = chain(&error), "drift cannot be judged");
                return None;
            }
        };
        for verdict in &verdicts {
            self.publish_feature(verdict);
        }
        let drifted = verdicts.iter().any(|verdict| verdict.verdict == DriftVerdict::Drifted);
        self.drifted.store(drifted, Ordering::Relaxed);
        Some(NewDriftSnapshot {
            model: model.to_owned(),
            version: version.to_owned(),
            observations: window.observations.len() as u64,
            drifted,
            features: serde_json::to_value(&verdicts).unwrap_or_default(),
        })
    }

    fn judge(&self, window: &Window) -> Result<Vec<FeatureDrift>, refit_stats::StatsError> {
        let features: Vec<FeatureCounts<'_>> = self
            .reference
            .distributions
            .iter()
            .zip(&window.counts)
            .map(|(distribution, observed)| FeatureCounts {
                feature: &distribution.feature,
                reference: &distribution.counts,
                observed,
            })
            .collect();
        judge_drift(&features, &self.config.drift)
    }

    fn publish_feature(&self, drift: &FeatureDrift) {
        let labels = [self.labels[0].as_str(), self.labels[1].as_str(), drift.feature.as_str()];
        let metrics = &self.metrics;
        match (&drift.test, drift.adjusted_p_value) {
            (Some(test), Some(p_value)) if drift.verdict != DriftVerdict::TooFew => {
                metrics.psi.with_label_values(&labels).set(test.psi);
                metrics.p_value.with_label_values(&labels).set(p_value);
                let drifted = i64::from(drift.verdict == DriftVerdict::Drifted);
                metrics.drifted.with_label_values(&labels).set(drifted);
            }
            _ => {
                // Removing a series that is not there is an error of no interest.
                let _ = metrics.psi.remove_label_values(&labels);
                let _ = metrics.p_value.remove_label_values(&labels);
                let _ = metrics.drifted.remove_label_values(&labels);
            }
        }
    }

    /// Sets the gauges of live accuracy.
    pub fn publish_accuracy(&self, tally: LabelledTally) {
        let window = self.lock();
        let Ok(interval) = wilson(tally.correct, tally.total, self.config.confidence) else { return };
        if window.retired {
            return;
        }
        let labels = [self.labels[0].as_str(), self.labels[1].as_str()];
        self.metrics.accuracy.with_label_values(&labels).set(interval.estimate);
        self.metrics.accuracy_lower.with_label_values(&labels).set(interval.lower);
        self.metrics.accuracy_upper.with_label_values(&labels).set(interval.upper);
        let count = i64::try_from(tally.total).unwrap_or(i64::MAX);
        self.metrics.accuracy_labels.with_label_values(&labels).set(count);
    }

    /// Takes the gauges away; the counters stay, since counters must not fall.
    pub fn retire(&self) {
        self.lock().retired = true;
        let labels = [self.labels[0].as_str(), self.labels[1].as_str()];
        let metrics = &self.metrics;
        for gauge in [&metrics.accuracy, &metrics.accuracy_lower, &metrics.accuracy_upper] {
            let _ = gauge.remove_label_values(&labels);
        }
        for gauge in [&metrics.window, &metrics.accuracy_labels] {
            let _ = gauge.remove_label_values(&labels);
        }
        for distribution in &self.reference.distributions {
            let feature = [labels[0], labels[1], distribution.feature.as_str()];
            let _ = metrics.psi.remove_label_values(&feature);
            let _ = metrics.p_value.remove_label_values(&feature);
            let _ = metrics.drifted.remove_label_values(&feature);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn add(&mut self, now: Instant, bins: Vec<Option<usize>>) {
        self.count(&bins, |count| *count += 1);
        self.observations.push_back((now, bins));
    }

    fn forget(&mut self, config: &MonitorConfig, now: Instant) {
        let old = |time: Instant| now.saturating_duration_since(time) > config.window;
        while self
            .observations
            .front()
            .is_some_and(|(time, _)| self.observations.len() > config.window_observations || old(*time))
        {
            if let Some((_, bins)) = self.observations.pop_front() {
                self.count(&bins, |count| *count -= 1);
            }
        }
    }

    fn count(&mut self, bins: &[Option<usize>], change: impl Fn(&mut u64)) {
        for (counts, bin) in self.counts.iter_mut().zip(bins) {
            if let Some(count) = bin.and_then(|bin| counts.get_mut(bin)) {
                change(count);
            }
        }
    }
}
