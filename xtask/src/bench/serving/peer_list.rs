//! The servers that people use, and how each is tuned.
//!
//! Their scripts are in xtask/bench/peers. All have ONNX Runtime and the tokenizers library in the version that refit
//! has.

use super::service::{INFER, infer_body, infer_logits};
use serde_json::{Value, json};

/// A server.
pub struct Peer {
    pub name: &'static str,
    /// What its environment is made of.
    pub packages: &'static [&'static str],
    /// The program of that environment, and its arguments; `{port}` is where it is to listen.
    pub command: &'static [&'static str],
    /// A path that answers 200 once it is ready.
    pub ready: &'static str,
    /// Where it is asked.
    pub path: &'static str,
    pub body: fn(&str) -> Value,
    pub logits: fn(&Value) -> Option<Vec<f64>>,
}

/// What can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Processes or instances, each with a session.
    pub workers: usize,
    /// Threads of a session.
    pub threads: usize,
    /// Most texts of a run.
    pub batch: usize,
    /// Milliseconds that a run waits for others to share it.
    pub delay_ms: usize,
}

/// For many requests at a time. Their documentation leaves dynamic batching to be tried: with runs of 2, 4 or 8 texts
/// each of them answers less, since texts of different lengths are padded and a CPU gains nothing by it.
pub const CROWD: Tuning = Tuning { workers: 2, threads: 1, batch: 1, delay_ms: 0 };

/// For one request at a time, which may have both cores and has nothing to wait for.
pub const LONE: Tuning = Tuning { workers: 1, threads: 2, batch: 1, delay_ms: 0 };

pub const PEERS: [Peer; 4] = [
    Peer {
        name: "Triton",
        packages: &["nvidia-pytriton==0.7.0", "onnxruntime==1.31.1", "tokenizers==0.23.3"],
        command: &["python", "triton_server.py"],
        ready: "/v2/models/bench/ready",
        path: INFER,
        body: infer_body,
        logits: infer_logits,
    },
    Peer {
        name: "MLServer",
        // Its workers do not start with a newer uvloop.
        packages: &["mlserver==1.7.1", "uvloop==0.21.0", "onnxruntime==1.31.1", "tokenizers==0.23.3"],
        command: &["mlserver", "start", "mlserver"],
        ready: "/v2/models/bench/ready",
        path: INFER,
        body: infer_body,
        logits: infer_logits,
    },
    Peer {
        name: "LitServe",
        packages: &["litserve==0.2.19", "onnxruntime==1.31.1", "tokenizers==0.23.3"],
        command: &["python", "litserve_server.py"],
        ready: "/health",
        path: "/predict",
        body: |text| json!({ "text": text }),
        logits: |answer| numbers(&answer["logits"]),
    },
    Peer {
        name: "BentoML",
        packages: &["bentoml==1.4.40", "onnxruntime==1.31.1", "tokenizers==0.23.3"],
        command: &["bentoml", "serve", "bentoml_server:Bench", "--host", "127.0.0.1", "--port", "{port}"],
        ready: "/readyz",
        path: "/predict",
        body: |text| json!({ "texts": [text] }),
        logits: |answer| numbers(&answer[0]),
    },
];

fn numbers(values: &Value) -> Option<Vec<f64>> {
    values.as_array()?.iter().map(Value::as_f64).collect()
}
