use std::{fs, sync::Arc};

use ort::{
    session::builder::{PrepackedWeights, SessionBuilder},
    value::{DynValue, Tensor},
};
use refit_graph::onnx::proto::{ModelProto, TensorProto};

use crate::session::Source;

/// Large weights that all sessions of a model read from one place, in the file's layout and in the one that matrix
/// products are packed into. Without this every session has a copy of both: 86 MiB more each for a MiniLM in float32.
pub(crate) struct SharedWeights {
    values: Vec<(String, Arc<DynValue>)>,
    prepacked: PrepackedWeights,
}

/// Smaller ones are not worth the bookkeeping, and constants of the graph's arithmetic are among them: ONNX Runtime
/// folds those only when they are in the model itself.
const MIN_BYTES: usize = 64 << 10;

/// Most axes of a weight that is lent: the engine's convolutions of integers cannot share how they pack theirs, and fail
/// to load with lent ones.
const MOST_AXES: usize = 2;

/// `TensorProto.DataType` of the ONNX standard.
const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;

impl SharedWeights {
    /// The large weights of a model. What cannot be read here is left to ONNX Runtime, which reads it with each
    /// session or says what is wrong.
    pub(crate) fn of(source: &Source) -> Self {
        let decoded = match source {
            Source::File(path) => fs::read(path).ok().and_then(|bytes| decode(bytes.into())),
            Source::Bytes(bytes) => decode(bytes.clone()),
        };
        let initializers =
            decoded.and_then(|model| model.graph).map(|graph| graph.initializer).unwrap_or_default();
        let values = initializers
            .into_iter()
            .filter_map(|tensor| {
                let value = shared_value(&tensor)?;
                Some((tensor.name?, Arc::new(value)))
            })
            .collect();
        Self { values, prepacked: PrepackedWeights::new() }
    }

    /// Gives a session these weights instead of copies of its own.
    pub(crate) fn lend(&self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        let mut builder = builder.with_prepacked_weights(&self.prepacked)?;
        for (name, value) in &self.values {
            builder = builder.with_initializer(name, Arc::clone(value))?;
        }
        Ok(builder)
    }
}

fn decode(bytes: bytes::Bytes) -> Option<ModelProto> {
    prost::Message::decode(bytes).ok()
}

fn shared_value(tensor: &TensorProto) -> Option<DynValue> {
    let raw = tensor.raw_data.as_deref().filter(|raw| raw.len() >= MIN_BYTES)?;
    if tensor.dims.len() > MOST_AXES {
        return None;
    }
    let shape: Vec<usize> =
        tensor.dims.iter().map(|&axis| usize::try_from(axis).ok()).collect::<Option<_>>()?;
    let elements = shape.iter().try_fold(1usize, |product, &axis| product.checked_mul(axis))?;
    match tensor.data_type? {
        FLOAT if elements.checked_mul(4)? == raw.len() => {
            let number = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
            let values: Vec<f32> = raw.as_chunks().0.iter().map(number).collect();
            Some(Tensor::from_array((shape, values)).ok()?.into_dyn())
        }
        UINT8 if elements == raw.len() => Some(Tensor::from_array((shape, raw.to_vec())).ok()?.into_dyn()),
        INT8 if elements == raw.len() => {
            let values: Vec<i8> = raw.iter().map(|&byte| byte as i8).collect();
            Some(Tensor::from_array((shape, values)).ok()?.into_dyn())
        }
        _ => None,
    }
}
