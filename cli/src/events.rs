//! Events of a run as JSON, one object a line: for whoever watches a training from outside.

use anyhow::{Context, Result};
use refit_trainer::Event;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Writes events to the end of a file.
pub struct EventLog(File);

impl EventLog {
    /// Opens the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(file.with_context(|| format!("{} cannot be written", path.display()))?))
    }

    /// Writes one event. A full disk loses events, and ends no run.
    pub fn write(&mut self, event: &Event) {
        let _ = self.0.write_all(format!("{}\n", as_json(event)).as_bytes());
    }
}

fn as_json(event: &Event) -> Value {
    match event {
        Event::Stage { name, message } => json!({ "event": "stage", "stage": name, "message": message }),
        Event::Progress { done, total } => json!({ "event": "progress", "done": done, "total": total }),
        Event::Step(step) => json!({
            "event": "step", "step": step.step, "total": step.total, "loss": step.loss,
            "learning_rate": step.learning_rate, "gradient_norm": step.gradient_norm, "rows": step.rows,
            "tokens": step.tokens, "seconds": step.seconds,
        }),
        Event::Epoch(epoch) => {
            let mut value = serde_json::to_value(epoch).unwrap_or_default();
            value["event"] = "epoch".into();
            value
        }
        Event::Checkpoint { step, seconds } => {
            json!({ "event": "checkpoint", "step": step, "seconds": seconds })
        }
        Event::Notice(text) => json!({ "event": "notice", "message": text }),
    }
}
