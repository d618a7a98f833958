//! What the demo measured: lines while it goes on, a table at the end, JSON for a script.

use super::traffic::Tally;
use crate::table;
use anyhow::{Context, Result};
use refit_artifact::Precision;
use refit_store::Decision;
use refit_trainer::TrainOutcome;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;

/// Every figure by its name.
#[derive(Default)]
pub struct Figures {
    values: Map<String, Value>,
    story: Vec<[String; 3]>,
    noted: i64,
}

impl Figures {
    /// Duration of a stage.
    pub fn seconds(&mut self, stage: &str, elapsed: Duration) {
        self.values.insert(format!("seconds.{stage}"), json!((elapsed.as_secs_f64() * 10.0).round() / 10.0));
    }

    /// Metrics, parity and quantization of version 1.
    pub fn first_version(&mut self, outcome: &TrainOutcome) {
        let Some(evaluation) = outcome.evaluation.classes() else { return };
        let metrics = &evaluation.metrics;
        let accuracy = metrics.accuracy;
        self.set("v1.test.accuracy", accuracy.estimate);
        self.set("v1.test.accuracy_lower", accuracy.lower);
        self.set("v1.test.accuracy_upper", accuracy.upper);
        self.set("v1.test.f1_macro", metrics.f1_macro.estimate);
        self.set("v1.test.baseline", evaluation.baseline.accuracy.estimate);
        self.set("parity.max_abs", outcome.parity.max_abs());
        self.tell(
            "version 1, test rows",
            format!("accuracy {:.3}", accuracy.estimate),
            format!(
                "{:.3} to {:.3}; always the commonest class {:.3}; macro F1 {:.3}",
                accuracy.lower,
                accuracy.upper,
                evaluation.baseline.accuracy.estimate,
                metrics.f1_macro.estimate
            ),
        );
        self.tell(
            "trained = merged = exported",
            format!("{:.1e}", outcome.parity.max_abs()),
            "largest difference of a logit over held-out rows, every engine".to_owned(),
        );
        let Some(choice) = outcome.choices.first() else { return };
        for candidate in &choice.candidates {
            let accuracy = candidate.accuracy.map_or_else(
                || candidate.verdict.clone(),
                |accuracy| format!("accuracy {:.3}", accuracy.estimate),
            );
            self.tell(
                &format!("{} file", candidate.precision),
                format!("{:.1} MB", candidate.bytes as f64 / 1e6),
                format!("{:.2} ms a text on one thread, {accuracy}", candidate.latency_ms),
            );
        }
        if let Some(int8) = choice.whole(Precision::Int8) {
            self.set("int8.bytes", int8.bytes as f64);
            self.set("int8.speedup", int8.speedup);
            self.set("int8.accuracy_drop", int8.accuracy_drop.map_or(f64::NAN, |drop| drop.estimate));
        }
        self.values.insert("serving.precision".to_owned(), json!(choice.precision.name()));
        for (stage, seconds) in &outcome.seconds {
            self.seconds(&format!("train_v1.{stage}"), Duration::from_secs_f64(*seconds));
        }
        println!("   {}", choice.reason);
    }

    /// Live accuracy before the change, and the alarms that were raised.
    pub fn calm(&mut self, tally: Tally, alarms: usize) {
        self.set("live.before", tally.accuracy());
        self.set("alarms.calm", alarms as f64);
        self.tell(
            "reviews, version 1",
            format!("accuracy {:.3}", tally.accuracy()),
            format!("{} requests, {alarms} alarms", tally.total),
        );
    }

    /// Live accuracy of the old version on the changed world.
    pub fn degraded(&mut self, tally: Tally, elapsed: Duration) {
        self.set("live.degraded", tally.accuracy());
        self.seconds("degraded", elapsed);
        self.tell(
            "tweets, version 1",
            format!("accuracy {:.3}", tally.accuracy()),
            format!("{} requests until the loop decided to refit", tally.total),
        );
    }

    /// Live accuracy of the new version, and all requests of the story.
    pub fn recovered(&mut self, tally: Tally, answered: u64, failed: u64) {
        self.set("live.recovered", tally.accuracy());
        self.set("requests.answered", answered as f64);
        self.set("requests.failed", failed as f64);
        self.tell(
            "tweets, version 2",
            format!("accuracy {:.3}", tally.accuracy()),
            format!("{} requests with tweets that no version was trained on", tally.total),
        );
        self.tell(
            "requests",
            format!("{failed} failed"),
            format!("{answered} answered, hot swap and canary included"),
        );
    }

    /// Prints decisions that were not printed yet.
    pub fn note_decisions(&mut self, decisions: &[Decision]) {
        for decision in decisions.iter().filter(|decision| decision.sequence > self.noted) {
            println!("   {:<14} {}", decision.kind, decision.reason);
        }
        self.noted = decisions.last().map_or(self.noted, |decision| decision.sequence.max(self.noted));
    }

    /// All decisions, for the JSON.
    pub fn decisions(&mut self, decisions: &[Decision]) {
        self.note_decisions(decisions);
        let rows: Vec<Value> = decisions
            .iter()
            .map(|decision| json!({ "kind": decision.kind, "reason": decision.reason, "at": decision.decided_at }))
            .collect();
        self.values.insert("decisions".to_owned(), Value::Array(rows));
    }

    /// Requests without an answer.
    pub fn failed(&self) -> u64 {
        self.values.get("requests.failed").and_then(Value::as_f64).unwrap_or(0.0) as u64
    }

    /// The table of the story.
    pub fn print(&self) {
        println!();
        table::print(["what", "figure", "more"], &self.story);
        let seconds = self.values.get("seconds.story").and_then(Value::as_f64).unwrap_or(f64::NAN);
        println!("\nthe story took {seconds:.0} s after the downloads");
    }

    /// Writes every figure.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.values)?;
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    fn set(&mut self, name: &str, value: f64) {
        self.values.insert(name.to_owned(), json!(value));
    }

    fn tell(&mut self, what: &str, figure: String, more: String) {
        println!("   {what}: {figure} ({more})");
        self.story.push([what.to_owned(), figure, more]);
    }
}
