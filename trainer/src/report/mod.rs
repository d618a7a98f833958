//! The report of a training run: one HTML file that needs nothing else, no script and no network,
//! readable in light and in dark.
//!
//! The report takes plain values and knows nothing of where they come from; whoever trains fills a
//! [`Report`] and [`render`]s it. Text from data and configuration is escaped when it is written.

mod comparison;
mod cross_validation;
mod figures;
mod html;
mod page;
mod plot;
mod quantization;
mod range_test;
mod search;
mod sheet;

use serde::{Deserialize, Serialize};

use crate::evaluation::Assessment;
use crate::forgetting::Forgetting;
use refit_artifact::EngineSearch;

pub use comparison::render_comparison;
pub use cross_validation::render_cross_validation;
pub use page::render;
pub use range_test::render_range_test;
pub use search::render_search;

/// Everything that the report shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the model.
    pub model: String,
    /// Version that the run made.
    pub version: String,
    /// When, in RFC 3339.
    pub created_at: String,
    /// One-line facts for the head of the page, e.g. ("base", "..."), ("method", "full").
    pub facts: Vec<(String, String)>,
    /// The run's course.
    pub learning_curve: LearningCurve,
    /// Metrics on the test rows.
    pub evaluation: Assessment,
    /// Rows by class and split.
    pub class_balance: Vec<ClassBalance>,
    /// What the audit of the data found.
    pub audit: Vec<Finding>,
    /// The stages trained = merged = exported = served.
    pub parity: Vec<ParityCheck>,
    /// Which file is served, and why.
    pub quantization: Quantization,
    /// What the model forgot, where reference rows are named.
    pub forgetting: Option<Forgetting>,
    /// The effective configuration as TOML.
    pub config: String,
}

/// Loss and validation metric over the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LearningCurve {
    /// Name of the validation metric, e.g. `f1_macro`.
    pub metric: String,
    /// (step, training loss), smoothed or not.
    pub train_loss: Vec<(u64, f64)>,
    /// (step, validation metric).
    pub validation: Vec<(u64, f64)>,
    /// Step whose weights were kept.
    pub best_step: Option<u64>,
}

/// Rows of one class in each split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassBalance {
    /// The class.
    pub label: String,
    /// Training rows.
    pub train: u64,
    /// Validation rows.
    pub validation: u64,
    /// Test rows.
    pub test: u64,
}

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked for, e.g. "duplicate texts".
    pub name: String,
    /// Rows found.
    pub rows: u64,
    /// What was done about them.
    pub action: String,
}

/// One comparison of two forms of the model on held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParityCheck {
    /// What was compared, e.g. "trained = exported float32 (tract)".
    pub name: String,
    /// Rows compared.
    pub rows: u64,
    /// Greatest difference of a logit.
    pub max_abs: f64,
    /// What was allowed; absent where the difference is only reported.
    pub tolerance: Option<f64>,
}

impl ParityCheck {
    /// Whether the difference stayed within the tolerance.
    pub fn passed(&self) -> bool {
        self.tolerance.is_none_or(|tolerance| self.max_abs <= tolerance)
    }
}

/// The choice of the file that is served.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Quantization {
    /// What was measured, engine by engine; the first is the engine that serves.
    pub searches: Vec<EngineSearch>,
    /// Accuracy that a form might lose.
    pub max_drop: f64,
    /// How much faster than float32 it had to be.
    pub min_speedup: f64,
}

#[cfg(test)]
mod tests;
