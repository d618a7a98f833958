//! From the trained graph to the files that are served, and the proof that they answer alike.

mod choice;
mod parity;

pub use choice::{Candidate, Choice, choose};
pub use parity::{Parity, check};

use crate::TrainError;
use crate::examples::Example;
use refit_engine::{Engine, ModelSource, Session, SessionOptions, Tensor};
use refit_graph::{Model, onnx};
use refit_passes::edit::{MergeLora, QuantizeInt8Rows};
use refit_passes::{Driver, lower};
use refit_preprocess::Encoding;
use std::collections::BTreeMap;

/// The forms of one model.
pub struct Forms {
    /// As trained; adapters still beside the weights.
    pub trained: Model,
    /// Adapters merged.
    pub merged: Model,
    /// ONNX bytes, float32, operators of the standard.
    pub float32: Vec<u8>,
    /// ONNX bytes, int8 with a scale per row.
    pub int8: Vec<u8>,
}

impl Forms {
    /// Merges, lowers and quantizes `trained`; `metadata` goes into both files.
    ///
    /// # Errors
    /// When a pass refuses; it is named.
    pub fn make(trained: Model, metadata: &BTreeMap<String, String>) -> Result<Self, TrainError> {
        let mut merged = trained.clone();
        Driver::new().edit(&mut merged, &MergeLora)?;
        let mut portable = lower::portable(&merged)?;
        portable.metadata.extend(metadata.clone());
        let float32 = onnx::write(&portable)?;
        Driver::new().edit(&mut portable, &QuantizeInt8Rows)?;
        let int8 = onnx::write(&portable)?;
        Ok(Self { trained, merged, float32, int8 })
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
    let outputs = session.run(&inputs)?;
    outputs
        .iter()
        .find(|(output, _)| output == name)
        .and_then(|(_, tensor)| tensor.as_f32())
        .map(<[f32]>::to_vec)
        .ok_or_else(|| TrainError::Feature { name: name.to_owned() })
}
