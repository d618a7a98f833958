use refit_stats::Interval;
use serde::{Deserialize, Serialize};

use crate::{Precision, Serving};

/// What was measured to choose the file that one engine serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSearch {
    /// What this engine serves, and why.
    pub serving: Serving,
    /// The kind of processor on which it was measured: its architecture and the instructions that int8 depends on.
    pub machine: String,
    /// Every form that was measured, in order.
    pub candidates: Vec<Candidate>,
    /// How much each layer alone changes the answers when it is quantized, where that was asked.
    #[serde(default)]
    pub sensitivity: Vec<Sensitivity>,
}

/// One form that could be served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its precision.
    pub precision: Precision,
    /// How it was made, where there is more to say: how its ranges were found.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The weights whose layers stay in float32, in the order in which they were left.
    #[serde(default)]
    pub float_layers: Vec<String>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Median time of one row, alone in its batch, on one thread, in milliseconds.
    pub latency_ms: f64,
    /// Time of float32 over its time, measured in turns.
    pub speedup: f64,
    /// Mean rightness on the held-out rows: accuracy where an answer is right or wrong. Absent where it was too
    /// slow to be asked.
    #[serde(default)]
    pub accuracy: Option<Interval>,
    /// What it loses of it against float32 on the same rows, with its paired interval.
    #[serde(default)]
    pub accuracy_drop: Option<Interval>,
    /// What the rule says of it, in a few words.
    pub verdict: String,
}

/// How sensitive one layer is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// The precision that it was tried in.
    pub precision: Precision,
    /// Its weight.
    pub weight: String,
    /// Elements of the weight.
    pub elements: u64,
    /// Mean squared change of an output when this layer alone is quantized.
    pub error: f64,
}
