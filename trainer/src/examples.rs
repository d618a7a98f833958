//! Training examples as tensors: tokens, what was computed of them before, and the label.

use crate::TrainError;
use bytes::Bytes;
use candle_core::{Device, Tensor};
use refit_autodiff::Program;
use refit_preprocess::Encoding;
use std::collections::HashMap;

/// One row, ready for the graph.
#[derive(Debug, Clone)]
pub struct Example {
    /// The tokens.
    pub encoding: Encoding,
    /// Index of the label.
    pub label: usize,
    /// Values of the frozen part, one a feature of the suffix, in its order.
    pub features: Vec<Feature>,
}

/// A value that was computed once: row-major, without the batch axis.
#[derive(Debug, Clone)]
pub struct Feature {
    /// Shape; the first axis is the sequence where there are two.
    pub shape: Vec<usize>,
    /// Elements, little-endian float32; usually a part of the mapped cache file.
    pub bytes: Bytes,
}

impl Example {
    /// Tokens, special tokens included.
    pub fn length(&self) -> usize {
        self.encoding.input_ids.len()
    }
}

/// What `program` takes of a batch of examples, padded to the longest: `input_ids`, `attention_mask`,
/// `token_type_ids` (i64 `[batch, sequence]`), `labels` (i64 `[batch]`) and the features by name.
///
/// # Errors
/// When the device has no room.
pub fn collate(
    examples: &[&Example],
    feature_names: &[String],
    pad_id: i64,
    program: &Program,
) -> Result<HashMap<String, Tensor>, TrainError> {
    let device = program.device();
    let batch = examples.len();
    let sequence = examples.iter().map(|example| example.length()).max().unwrap_or(0);
    let tokens = |values: fn(&Encoding) -> &[i64], pad: i64| -> candle_core::Result<Tensor> {
        let mut padded = Vec::with_capacity(batch * sequence);
        for example in examples {
            let row = values(&example.encoding);
            padded.extend_from_slice(row);
            padded.resize(padded.len() + sequence - row.len(), pad);
        }
        Tensor::from_vec(padded, (batch, sequence), device)
    };
    let labels: Vec<i64> = examples.iter().map(|example| example.label as i64).collect();
    let mut inputs = HashMap::from([
        ("input_ids".to_owned(), tokens(|e| &e.input_ids, pad_id)?),
        ("attention_mask".to_owned(), tokens(|e| &e.attention_mask, 0)?),
        ("token_type_ids".to_owned(), tokens(|e| &e.token_type_ids, 0)?),
        ("labels".to_owned(), Tensor::from_vec(labels, batch, device)?),
    ]);
    for (index, name) in feature_names.iter().enumerate() {
        let rows: Vec<&Feature> = examples.iter().map(|example| &example.features[index]).collect();
        inputs.insert(name.clone(), stack(&rows, sequence, device)?);
    }
    inputs.retain(|name, _| program.inputs().any(|input| input == name));
    Ok(inputs)
}

/// Stacks features along a new first axis, the sequence axis padded with zeros: what is padded is
/// masked wherever the graph reads it.
fn stack(rows: &[&Feature], sequence: usize, device: &Device) -> candle_core::Result<Tensor> {
    let mut shape = rows[0].shape.clone();
    let has_sequence = shape.len() == 2;
    if has_sequence {
        shape[0] = sequence;
    }
    let size: usize = shape.iter().product();
    let mut values = Vec::with_capacity(rows.len() * size);
    for row in rows {
        let elements = row.bytes.as_chunks::<4>().0;
        values.extend(elements.iter().map(|element| f32::from_le_bytes(*element)));
        values.resize(values.len() + size - elements.len(), 0.0);
    }
    shape.insert(0, rows.len());
    Tensor::from_vec(values, shape, device)
}
