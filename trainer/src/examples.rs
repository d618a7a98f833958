//! Training examples as tensors: tokens, what was computed of them before, and what is to be learned.

use crate::TrainError;
use crate::data::DataError;
use crate::features::Attached;
use crate::spool::{IN_MEMORY, Spool, Spooled};
use bytes::Bytes;
use candle_core::{Device, Tensor};
use refit_autodiff::Program;
use refit_preprocess::Encoding;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// What the graph is given at a time, ready for it: a row, or a part of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Example {
    /// Its texts: one, or as many as the loss compares. In a batch all first texts come before all second ones.
    pub texts: Vec<Tokens>,
    /// What is to be learned.
    pub target: Target,
}

/// One text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tokens {
    /// The tokens.
    pub encoding: Encoding,
    /// Values of the frozen part, one a feature of the suffix, in its order.
    #[serde(skip)]
    pub features: Vec<Feature>,
}

/// What is to be learned of an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// Index of the label.
    Class(usize),
    /// One number an output.
    Values(Vec<f32>),
    /// Index of each token's tag; [`IGNORED`] where nothing is to be learned.
    Tags(Vec<i64>),
    /// The tokens that an answer is made of.
    Span(Box<SpanTarget>),
    /// That the example's texts belong together, and not with those of the others.
    Together,
}

/// A tag that is no tag: the loss leaves the token out (PyTorch's `ignore_index`).
pub const IGNORED: i64 = -100;

/// What is to be learned of a window over a text, and what its answer is judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanTarget {
    /// Which row the window belongs to.
    pub row: usize,
    /// First and last token of the answer; the first token of all where the window does not hold it.
    pub tokens: [i64; 2],
    /// The characters that each token stands for.
    pub places: Vec<Option<(usize, usize)>>,
    /// The whole text.
    pub text: String,
    /// The right answers.
    pub answers: Vec<String>,
}

/// Examples that are read when they are needed. Their tokens are in a file in the cache once they are many:
/// some 20 bytes of each are in memory.
#[derive(Debug, Clone)]
pub struct Examples {
    stored: Spooled<Example>,
    lengths: Vec<u32>,
    /// Labels of examples that have one each.
    classes: Vec<u32>,
    features: Option<Arc<Attached>>,
}

/// What a graph answers to examples.
#[derive(Debug, Clone)]
pub struct Scores {
    /// The task's output for each example, flat.
    pub outputs: Vec<Vec<f32>>,
    /// Mean loss.
    pub loss: f64,
}

/// A value that was computed once: row-major, without the batch axis.
#[derive(Debug, Clone)]
pub struct Feature {
    /// Shape; the first axis is the sequence where there are two.
    pub shape: Vec<usize>,
    /// Elements, little-endian float32; usually a part of the mapped cache file.
    pub bytes: Bytes,
}

impl Tokens {
    /// Tokens of which nothing was computed yet.
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, features: Vec::new() }
    }
}

impl Example {
    /// Tokens of the longest text, special tokens included.
    pub fn length(&self) -> usize {
        self.texts.iter().map(|text| text.encoding.len()).max().unwrap_or(0)
    }
}

impl Examples {
    /// None yet; their file will be in `cache`.
    pub fn new(cache: &Path) -> Self {
        let stored = Spooled::new(Arc::new(Spool::new(&cache.join("rows"), IN_MEMORY)));
        Self { stored, lengths: Vec::new(), classes: Vec::new(), features: None }
    }

    /// Appends one; its features are not kept.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, example: &Example) -> Result<(), DataError> {
        self.lengths.push(u32::try_from(example.length()).unwrap_or(u32::MAX));
        self.classes.extend(match example.target {
            Target::Class(class) => Some(class as u32),
            _ => None,
        });
        self.stored.push(example)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens of each.
    pub fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    /// The label of each, where all have one.
    pub fn classes(&self) -> Option<&[u32]> {
        (self.classes.len() == self.lengths.len()).then_some(&self.classes)
    }

    /// Gives each example its features.
    pub fn attach(&mut self, features: Attached) {
        self.features = Some(Arc::new(features));
    }

    /// Those with these numbers, in this order.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn batch(&self, numbers: &[usize]) -> Result<Vec<Example>, TrainError> {
        numbers.iter().map(|&number| self.with_features(number, self.stored.get(number)?)).collect()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Result<Example, TrainError>> + '_ {
        self.stored.iter().enumerate().map(|(number, example)| self.with_features(number, example?))
    }

    /// All of them, in memory.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn to_vec(&self) -> Result<Vec<Example>, TrainError> {
        self.iter().collect()
    }

    fn with_features(&self, number: usize, mut example: Example) -> Result<Example, TrainError> {
        if let Some(features) = &self.features {
            for (place, text) in example.texts.iter_mut().enumerate() {
                text.features = features.get(number, place)?;
            }
        }
        Ok(example)
    }
}

/// What `program` takes of a batch of examples, padded to the longest: `input_ids`, `attention_mask`,
/// `token_type_ids` (i64 `[batch, sequence]`), `labels` (as the target is) and the features by name.
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
    let sequence = examples.iter().map(|example| example.length()).max().unwrap_or(0);
    let most = examples.iter().map(|example| example.texts.len()).max().unwrap_or(0);
    let texts: Vec<&Tokens> = (0..most)
        .flat_map(|place| examples.iter().filter_map(move |example| example.texts.get(place)))
        .collect();
    let tokens = |values: fn(&Encoding) -> &[i64], pad: i64| -> candle_core::Result<Tensor> {
        let mut padded = Vec::with_capacity(texts.len() * sequence);
        for text in &texts {
            let row = values(&text.encoding);
            padded.extend_from_slice(row);
            padded.resize(padded.len() + sequence - row.len(), pad);
        }
        Tensor::from_vec(padded, (texts.len(), sequence), device)
    };
    let mut inputs = HashMap::from([
        ("input_ids".to_owned(), tokens(|e| &e.input_ids, pad_id)?),
        ("attention_mask".to_owned(), tokens(|e| &e.attention_mask, 0)?),
        ("token_type_ids".to_owned(), tokens(|e| &e.token_type_ids, 0)?),
        ("labels".to_owned(), labels(examples, sequence, device)?),
    ]);
    for (index, name) in feature_names.iter().enumerate() {
        let rows: Vec<&Feature> = texts.iter().map(|text| &text.features[index]).collect();
        inputs.insert(name.clone(), stack(&rows, sequence, device)?);
    }
    inputs.retain(|name, _| program.inputs().any(|input| input == name));
    Ok(inputs)
}

/// The targets as one tensor: of classes and of texts that belong together i64 `[batch]`, of values f32
/// `[batch, outputs]`, of tags i64 `[batch, sequence]`, of spans i64 `[batch, 2]`.
fn labels(examples: &[&Example], sequence: usize, device: &Device) -> candle_core::Result<Tensor> {
    let batch = examples.len();
    let (mut integers, mut numbers) = (Vec::new(), Vec::new());
    for (place, example) in examples.iter().enumerate() {
        match &example.target {
            Target::Class(class) => integers.push(*class as i64),
            Target::Values(values) => numbers.extend_from_slice(values),
            Target::Tags(tags) => {
                integers.extend_from_slice(tags);
                integers.resize(integers.len() + sequence - tags.len(), IGNORED);
            }
            Target::Span(span) => integers.extend(span.tokens),
            Target::Together => integers.push(place as i64),
        }
    }
    let width = |elements: usize| elements / batch.max(1);
    match examples.first().map(|example| &example.target) {
        Some(Target::Values(_)) => {
            let width = width(numbers.len());
            Tensor::from_vec(numbers, (batch, width), device)
        }
        Some(Target::Tags(_) | Target::Span(_)) => {
            let width = width(integers.len());
            Tensor::from_vec(integers, (batch, width), device)
        }
        _ => Tensor::from_vec(integers, batch, device),
    }
}

/// The part of a batch's output that belongs to each example, flat and without padding: `output` is
/// `[texts, ...]` in the order of [`collate`], or `[texts, sequence, ...]` where it has three axes.
///
/// # Errors
/// When the output is not float32.
pub fn separate(examples: &[&Example], output: &Tensor) -> Result<Vec<Vec<f32>>, TrainError> {
    let batch = examples.len();
    let per_text = output.elem_count() / output.dims().first().copied().unwrap_or(1).max(1);
    let per_token = (output.rank() == 3).then(|| per_text / output.dims()[1].max(1));
    let flat = output.flatten_all()?.to_vec1::<f32>()?;
    let of = |(row, example): (usize, &&Example)| {
        let text = |(place, text): (usize, &Tokens)| {
            let start = (place * batch + row) * per_text;
            let length = per_token.map_or(per_text, |values| values * text.encoding.len());
            flat.get(start..start + length).unwrap_or_default().to_vec()
        };
        example.texts.iter().enumerate().flat_map(text).collect()
    };
    Ok(examples.iter().enumerate().map(of).collect())
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
