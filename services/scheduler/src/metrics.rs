//! What the loop tells Prometheus: where it stands, the evidence of degradation, and how often it decided what.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::plan::{Phase, State};

/// Names of all phases, so that those which a model is not in are told as 0.
const PHASES: [&str; 4] = ["watching", "training", "gating", "canary"];

/// The loop's metrics.
#[derive(Clone, Debug)]
pub struct LoopMetrics {
    phase: IntGaugeVec,
    log_wealth: GaugeVec,
    log_threshold: GaugeVec,
    labels: IntGaugeVec,
    alarms: IntGaugeVec,
    ticks: IntCounterVec,
    decisions: IntCounterVec,
}

impl LoopMetrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        const VERSION: [&str; 2] = ["model", "version"];
        let metrics = Self {
            phase: IntGaugeVec::new(
                Opts::new("refit_loop_phase", "1 for the phase that the loop of a model is in, 0 for the others."),
                &["model", "phase"],
            )?,
            log_wealth: GaugeVec::new(
                Opts::new(
                    "refit_degradation_log_wealth",
                    "Natural logarithm of the sequential test's wealth against \"no worse than the baseline\".",
                ),
                &VERSION,
            )?,
            log_threshold: GaugeVec::new(
                Opts::new(
                    "refit_degradation_log_threshold",
                    "The logarithm of the wealth at which the budget of false alarms is used.",
                ),
                &VERSION,
            )?,
            labels: IntGaugeVec::new(
                Opts::new("refit_degradation_labels", "Labels that the sequential test has seen."),
                &VERSION,
            )?,
            alarms: IntGaugeVec::new(
                Opts::new("refit_loop_standing_alarms", "Alarms that the loop has raised and not cleared."),
                &["model"],
            )?,
            ticks: IntCounterVec::new(
                Opts::new("refit_loop_ticks_total", "Times that the loop has observed a model and planned."),
                &["model"],
            )?,
            decisions: IntCounterVec::new(
                Opts::new("refit_decisions_total", "Decisions of the loop and of operators, by kind."),
                &["model", "kind"],
            )?,
        };
        registry.register(Box::new(metrics.phase.clone()))?;
        registry.register(Box::new(metrics.log_wealth.clone()))?;
        registry.register(Box::new(metrics.log_threshold.clone()))?;
        registry.register(Box::new(metrics.labels.clone()))?;
        registry.register(Box::new(metrics.alarms.clone()))?;
        registry.register(Box::new(metrics.ticks.clone()))?;
        registry.register(Box::new(metrics.decisions.clone()))?;
        Ok(metrics)
    }

    /// Tells what was observed, once a tick; `kinds` are those of decisions, so that each is there from the start.
    pub fn observe(&self, state: &State, kinds: &[&str]) {
        let model = state.model.as_str();
        self.ticks.with_label_values(&[model]).inc();
        for phase in PHASES {
            self.phase.with_label_values(&[model, phase]).set(i64::from(phase == phase_name(&state.phase)));
        }
        self.alarms.with_label_values(&[model]).set(state.standing_alarms.len() as i64);
        for kind in kinds {
            self.decisions.with_label_values(&[model, kind]);
        }
        let Some(champion) = &state.champion else { return };
        let version = champion.version.as_str();
        self.log_wealth.with_label_values(&[model, version]).set(state.judge.log_wealth);
        self.log_threshold.with_label_values(&[model, version]).set(state.judge.threshold);
        self.labels.with_label_values(&[model, version]).set(i64::try_from(state.judge.labels).unwrap_or(i64::MAX));
    }

    /// Forgets a version that is no longer champion.
    pub fn retire(&self, model: &str, version: &str) {
        // Absent already is as good as removed.
        let _ = self.log_wealth.remove_label_values(&[model, version]);
        let _ = self.log_threshold.remove_label_values(&[model, version]);
        let _ = self.labels.remove_label_values(&[model, version]);
    }

    /// Counts a decision.
    pub fn decided(&self, model: &str, kind: &str) {
        self.decisions.with_label_values(&[model, kind]).inc();
    }
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Watching => "watching",
        Phase::Training { .. } => "training",
        Phase::Gating { .. } => "gating",
        Phase::Canary { .. } => "canary",
    }
}
