//! From the trained graph to the files that are served, and the proof that they answer alike.

mod calibration;
mod choice;
mod explain;
mod fixed;
mod format;
mod measure;
mod parity;
mod plan;
mod sensitivity;
mod written;

pub use choice::{Choice, choose};
pub use fixed::{Fixed, calibration_rows, fitted};
pub use format::is_calibrated;
pub use parity::{Parity, check};
pub use written::{WrittenForm, written};

use crate::TrainError;
use crate::examples::Example;
use refit_engine::{Engine, ModelSource, Session, SessionOptions, Tensor};
use refit_graph::{Model, onnx};
use refit_passes::edit::MergeLora;
use refit_passes::{Driver, lower};
use refit_preprocess::Encoding;
use std::collections::BTreeMap;

/// The forms of one model.
pub struct Forms {
    /// As trained; adapters still beside the weights.
    pub trained: Model,
    /// Adapters merged.
    pub merged: Model,
    /// Lowered to operators of the standard: what other precisions are made of.
    pub portable: Model,
    /// ONNX bytes of the lowered model.
    pub float32: Vec<u8>,
    /// What static int8 is made of, once that was found out.
    pub fixed: Option<Fixed>,
}

impl Forms {
    /// Merges and lowers `trained`; `metadata` goes into every file that is made of it.
    ///
    /// # Errors
    /// When a pass refuses; it is named.
    pub fn make(trained: Model, metadata: &BTreeMap<String, String>) -> Result<Self, TrainError> {
        let mut merged = trained.clone();
        Driver::new().edit(&mut merged, &MergeLora)?;
        let mut portable = lower::portable(&merged)?;
        portable.metadata.extend(metadata.clone());
        let float32 = onnx::write(&portable)?;
        Ok(Self { trained, merged, portable, float32, fixed: None })
    }
}

/// Loads a model into one single-threaded session.
pub fn session(engine: &dyn Engine, model: &[u8]) -> Result<Box<dyn Session>, TrainError> {
    Ok(engine.load(ModelSource::Bytes(model), &SessionOptions { threads: 1 })?)
}

/// The output `name` for one example, flat: each of its texts alone in its batch, as it will be served.
pub fn answer(session: &mut dyn Session, name: &str, example: &Example) -> Result<Vec<f32>, TrainError> {
    let mut values = Vec::new();
    for text in &example.texts {
        values.extend(answer_text(session, name, &text.encoding)?);
    }
    Ok(values)
}

/// The output `name` for one text, flat.
pub fn answer_text(
    session: &mut dyn Session,
    name: &str,
    encoding: &Encoding,
) -> Result<Vec<f32>, TrainError> {
    answer_named(session, encoding)?
        .iter()
        .find(|(output, _)| output == name)
        .and_then(|(_, tensor)| tensor.as_f32())
        .map(<[f32]>::to_vec)
        .ok_or_else(|| TrainError::Feature { name: name.to_owned() })
}

/// Every output for one text.
fn answer_named(session: &mut dyn Session, encoding: &Encoding) -> Result<Vec<(String, Tensor)>, TrainError> {
    let shape = vec![1, encoding.input_ids.len()];
    let mut inputs = Vec::with_capacity(3);
    for (name, values) in [
        ("input_ids", &encoding.input_ids),
        ("attention_mask", &encoding.attention_mask),
        ("token_type_ids", &encoding.token_type_ids),
    ] {
        if session.inputs().iter().any(|port| port.name == name) {
            inputs.push((name, Tensor::i64(shape.clone(), values.clone())?));
        }
    }
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
    Ok(session.run(&inputs)?)
}
