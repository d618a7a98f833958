use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{EngineSearch, files};

/// The version of the artifact's layout that this code writes, and the newest that it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// What a model is, where it comes from and how it is to be served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the artifact's layout.
    pub schema_version: u32,
    /// The model's name.
    pub model: String,
    /// The model's version, if it already had one when it was written.
    #[serde(default)]
    pub version: Option<String>,
    /// When the artifact was written.
    pub created_at: jiff::Timestamp,
    /// The version of refit that wrote it.
    pub code_version: String,
    /// The task, such as `text-classification`.
    pub task: String,
    /// The labels in the order of the logits; none where the task has none.
    pub labels: Vec<String>,
    /// What turns the output of a regression into the number that is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<TargetScale>,
    /// Sha256 and size of every file but the manifest. Filled in by [`crate::Writer::finish`].
    #[serde(default)]
    pub files: BTreeMap<String, FileRecord>,
    /// The effective configuration as TOML.
    pub config: String,
    /// A fingerprint of the training data.
    pub data_fingerprint: String,
    /// The pretrained model that training began with.
    pub base: String,
    /// The version that training began with, when it was not the pretrained model.
    #[serde(default)]
    pub parent: Option<String>,
    /// The figures of the test set worth showing in a list: name to value.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Which file is served, by which engine, and why.
    pub serving: Serving,
    /// How that was found out, engine by engine; the first is the engine that serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<EngineSearch>,
    /// What was compared before the artifact was written.
    #[serde(default)]
    pub parity: Vec<ParityCheck>,
}

/// A regression learns (number - mean) / deviation, so that its loss and its rates do not depend on the unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetScale {
    /// Mean of the training rows' numbers.
    pub mean: f64,
    /// Their standard deviation, above 0.
    pub deviation: f64,
}

impl TargetScale {
    /// The number for an output of the model.
    pub fn number(&self, output: f32) -> f64 {
        f64::from(output) * self.deviation + self.mean
    }

    /// What the model is to put out for a number.
    pub fn output(&self, number: f64) -> f32 {
        ((number - self.mean) / self.deviation) as f32
    }
}

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Sha256 in lower-case hexadecimal digits.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// Which file is served, and by which engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// The file's name in the artifact.
    pub file: String,
    /// The precision of that file.
    pub precision: Precision,
    /// The weights whose layers are in float32 all the same, since the precision hurts them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub float_layers: Vec<String>,
    /// The engine that was measured to serve it: `onnxruntime` or `tract`.
    pub engine: String,
    /// Why this file and this engine, as one sentence.
    pub reason: String,
}

/// The precision of a model's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Weights and activations in float32.
    Float32,
    /// Matrix products in int8 with a scale per row.
    Int8,
    /// Matrix products and convolutions in int8 with fixed scales.
    #[serde(rename = "int8-static")]
    Int8Static,
    /// Weights in float16, everything else in float32.
    Float16,
    /// Weights in 4 bits, activations in int8; ONNX Runtime only.
    Int4,
}

impl Precision {
    /// The name used in manifests, metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Int8 => "int8",
            Self::Int8Static => "int8-static",
            Self::Float16 => "float16",
            Self::Int4 => "int4",
        }
    }

    /// The file of this precision in an artifact.
    pub fn file(self) -> &'static str {
        match self {
            Self::Float32 => files::MODEL_FLOAT32,
            Self::Int8 => files::MODEL_INT8,
            Self::Int8Static => files::MODEL_INT8_STATIC,
            Self::Float16 => files::MODEL_FLOAT16,
            Self::Int4 => files::MODEL_INT4,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A comparison of the logits of two forms of the model over held-out rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParityCheck {
    /// The form taken as right, such as `trained`.
    pub expected: String,
    /// The form compared with it, such as `float32 in tract`.
    pub actual: String,
    /// The number of rows compared.
    pub rows: usize,
    /// The largest absolute difference of a logit.
    pub max_abs: f64,
    /// The largest difference allowed; `None` where the difference is reported but not judged.
    pub tolerance: Option<f64>,
}
