use prometheus::{GaugeVec, IntCounterVec, IntGauge, Opts};
use refit_metrics::Registry;

use crate::{
    memory::{Memory, PhaseRecord},
    plan::{Action, State},
};

/// What the scheduler tells Prometheus.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    last_tick: IntGauge,
    ticks: IntCounterVec,
    phase: GaugeVec,
    alarms: GaugeVec,
    missing: GaugeVec,
    log_wealth: GaugeVec,
    log_threshold: GaugeVec,
    labels: GaugeVec,
    decisions: IntCounterVec,
}

/// Observations that can be missing: each is a series from the start, so that an alert sees 0 become 1.
const OBSERVATIONS: [&str; 7] =
    ["metrics", "champion", "traffic", "labels", "baseline", "reference", "canary_metrics"];

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let last_tick = IntGauge::new(
            "refit_scheduler_last_tick_timestamp_seconds",
            "When the loop last observed and planned without an error, in Unix time.",
        )?;
        registry.register(Box::new(last_tick.clone()))?;
        let version = ["model", "version"];
        Ok(Self {
            last_tick,
            ticks: counter(
                "refit_loop_ticks_total",
                "Times that the loop has observed a model and planned.",
                &["model"],
            )?,
            phase: gauge(
                "refit_loop_phase",
                "1 for the phase that the loop is in (watching, training, gating, canary), 0 for the others.",
                &["model", "phase"],
            )?,
            alarms: gauge(
                "refit_loop_standing_alarms",
                "Alarms that are raised and not cleared.",
                &["model"],
            )?,
            missing: gauge(
                "refit_observation_missing",
                "1 if an observation that should be there is not (metrics, champion, traffic, labels, baseline, \
                 reference, canary_metrics), 0 if it is.",
                &["model", "what"],
            )?,
            log_wealth: gauge(
                "refit_degradation_log_wealth",
                "Natural logarithm of the sequential test's wealth against \"no worse than the baseline\".",
                &version,
            )?,
            log_threshold: gauge(
                "refit_degradation_log_threshold",
                "The logarithm of the wealth at which the budget of false alarms is used.",
                &version,
            )?,
            labels: gauge("refit_degradation_labels", "Labels that the test has seen.", &version)?,
            decisions: counter(
                "refit_decisions_total",
                "Decisions of the loop and of operators.",
                &["model", "kind"],
            )?,
        })
    }

    /// Shows what was observed.
    pub(crate) fn observed(&self, state: &State, memory: &Memory) {
        let model = state.model.as_str();
        self.last_tick.set(state.now);
        self.ticks.with_label_values(&[model]).inc();
        for phase in PhaseRecord::NAMES {
            let now = f64::from(u8::from(phase == memory.phase.name()));
            self.phase.with_label_values(&[model, phase]).set(now);
        }
        self.alarms.with_label_values(&[model]).set(memory.alarms.len() as f64);
        for what in OBSERVATIONS {
            let missing = state.missing.iter().any(|missing| missing.what == what);
            self.missing.with_label_values(&[model, what]).set(f64::from(u8::from(missing)));
        }
        // A version that no longer serves is no longer judged: an old value would look like a live one.
        for vector in [&self.log_wealth, &self.log_threshold, &self.labels] {
            vector.reset();
        }
        if let Some(champion) = &state.champion {
            let labels = [model, champion.version.as_str()];
            self.labels.with_label_values(&labels).set(state.judge.labels as f64);
            if state.judge.baseline_accuracy.is_some() {
                self.log_wealth.with_label_values(&labels).set(state.judge.log_wealth);
                self.log_threshold.with_label_values(&labels).set(state.judge.threshold);
            }
        }
    }

    /// Makes every kind of decision a series, so that the first increase is seen.
    pub(crate) fn know_kinds(&self, model: &str) {
        for kind in Action::DECISION_KINDS {
            self.decisions.with_label_values(&[model, kind]).inc_by(0);
        }
    }

    /// Counts a decision.
    pub(crate) fn decided(&self, model: &str, kind: &str) {
        self.decisions.with_label_values(&[model, kind]).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use refit_metrics::Section;

    use super::*;

    #[test]
    fn the_inventory_is_what_the_scheduler_registers() {
        let registry = Registry::new();
        Metrics::register(&registry).unwrap();
        let families = registry.inventory();
        assert_eq!(families.iter().find_map(refit_metrics::MetricFamily::problem), None);
        let help = |name: &str| {
            let family = families.iter().find(|family| family.name == name);
            family.map(|family| family.help.clone()).unwrap_or_default()
        };
        for phase in PhaseRecord::NAMES {
            assert!(help("refit_loop_phase").contains(phase), "{phase}");
        }
        for what in OBSERVATIONS {
            assert!(help("refit_observation_missing").contains(what), "{what}");
        }

        let command = "cargo test -p refit-scheduler --lib inventory";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let section = Section { title: "Scheduler", command, families: &families };
        let wanted = section.in_page(&page).expect("docs/metrics.md has the section");
        if std::env::var_os("REFIT_REGENERATE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        } else {
            assert!(page == wanted, "docs/metrics.md is stale: run REFIT_REGENERATE=1 {command}");
        }
    }
}
