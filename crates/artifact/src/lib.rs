//! The artifact: one folder that holds everything a model needs to be served, watched and trained further.
//!
//! [`Writer`] publishes a folder atomically; [`Bundle::open`] verifies one before anything in it is believed.
//!
//! | file | what |
//! |---|---|
//! | `manifest.json` | [`Manifest`]: what the model is, where it comes from, the sha256 and size of every other file |
//! | `model.float32.onnx` | the model |
//! | `model.int8.onnx`, ... | other forms of it ([`Precision::file`]): int8 where it was tried, the others where they are served; `model.int8.tract.onnx` where an engine serves another file of the same precision |
//! | `tokenizer.json`, `preprocessing.json` | raw text to tensors |
//! | `labels.json` | the labels in the order of the logits |
//! | `reference.json` | [`Reference`]: what the inputs and answers looked like at training time |
//! | `golden.json` | [`Golden`]: examples whose answers are replayed when the model is loaded |
//! | `calibration.json` | the temperature that logits are divided by for their probabilities; 1 where it is absent |
//! | `metrics.json`, `report.html`, `refit.toml` | the evaluation, for machines and for people; the effective configuration |

mod bundle;
mod error;
mod golden;
mod manifest;
mod reference;
mod search;
mod writer;

pub use bundle::Bundle;
pub use error::ArtifactError;
pub use golden::{Golden, GoldenExample, GoldenLogits};
pub use manifest::{FileRecord, Manifest, ParityCheck, Precision, SCHEMA_VERSION, Serving, TargetScale};
pub use reference::{Projection, Reference, features};
pub use search::{Candidate, EngineSearch, Sensitivity};
pub use writer::Writer;

/// Names of the files in an artifact.
pub mod files {
    /// What the artifact is, with the hashes of all other files.
    pub const MANIFEST: &str = "manifest.json";
    /// The model in float32.
    pub const MODEL_FLOAT32: &str = "model.float32.onnx";
    /// The model in int8 with a scale per row, if it was tried.
    pub const MODEL_INT8: &str = "model.int8.onnx";
    /// The model in int8 with fixed scales, if it is served.
    pub const MODEL_INT8_STATIC: &str = "model.int8-static.onnx";
    /// The model with weights in float16, if it is served.
    pub const MODEL_FLOAT16: &str = "model.float16.onnx";
    /// The model with weights in 4 bits, if it is served.
    pub const MODEL_INT4: &str = "model.int4.onnx";
    /// The tokenizer, in the format of the `tokenizers` library.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// Settings of the preprocessing.
    pub const PREPROCESSING: &str = "preprocessing.json";
    /// The labels in the order of the logits.
    pub const LABELS: &str = "labels.json";
    /// The reference distributions.
    pub const REFERENCE: &str = "reference.json";
    /// The golden examples.
    pub const GOLDEN: &str = "golden.json";
    /// The evaluation, for machines.
    pub const METRICS: &str = "metrics.json";
    /// The evaluation, for people.
    pub const REPORT: &str = "report.html";
    /// The temperature that makes confidences true, where one was fitted.
    pub const CALIBRATION: &str = "calibration.json";
    /// The effective configuration.
    pub const CONFIG: &str = "refit.toml";
}
