//! Puts a classification head on an encoder.
//!
//! ```text
//! hidden[B,S,H] -> (old outputs)   =>   hidden[B,S,H] -> pool -> embedding[B,H] -> Dropout -> Linear -> logits[B,C]
//!                                       attention_mask --^                                ^ classifier.weight [C,H]
//!                                                                                           classifier.bias [C]
//! ```
//!
//! Over tokens, Dropout and Linear read `hidden` itself, and the logits are `[B,S,C]`.
//!
//! A head that is there already goes; rows of it may be carried over, so that a model that learns a new
//! label keeps what it knew of the others.

use super::{Pool, random};
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Attribute, DType, Dim, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId};

/// With what the names of a head's parameters begin.
pub const HEAD_PREFIX: &str = "classifier.";

const WEIGHT: &str = "classifier.weight";
const BIAS: &str = "classifier.bias";

/// Standard deviation of new rows, BERT's `initializer_range`.
const DEVIATION: f32 = 0.02;

/// What gets logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// The pooled vector of a text.
    Text,
    /// Every token by itself.
    Tokens,
}

/// Replaces the outputs by `logits` `[batch, labels]` and `embedding` `[batch, hidden]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplaceHead {
    /// Name of the hidden state, float32 `[batch, sequence, hidden]`.
    pub at: String,
    /// How it is pooled.
    pub pool: Pool,
    /// Number of labels.
    pub labels: usize,
    /// Rate of the dropout before the classifier.
    pub dropout: f32,
    /// For each label the row of the present head that it starts from; missing entries and `None` start
    /// from small random values.
    pub carried: Vec<Option<usize>>,
    /// Seed of those.
    pub seed: u64,
}

impl Edit for ReplaceHead {
    fn name(&self) -> &'static str {
        "replace-head"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Replaced
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        self.over(Over::Text, model)
    }
}

/// Replaces the outputs by `logits` `[batch, sequence, labels]`, which read every token's hidden vector, and
/// `embedding` `[batch, hidden]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenHead(pub ReplaceHead);

impl Edit for TokenHead {
    fn name(&self) -> &'static str {
        "token-head"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Replaced
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        self.0.over(Over::Tokens, model)
    }
}

impl ReplaceHead {
    fn over(&self, over: Over, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let (hidden, size) = hidden_state(graph, &self.at, self.pool)?;
        if over == Over::Tokens && self.pool == Pool::None {
            return Err(PassError::refused("a head for tokens needs a vector of each, not one of the text"));
        }
        if self.labels == 0 {
            return Err(PassError::refused("a head needs one output at least"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(PassError::refused(format!("a dropout of {} is not in [0, 1)", self.dropout)));
        }
        let (weight, bias) = self.initial(graph, size)?;

        let mut patch = Patch::new(graph);
        let embedding = self.pool.apply(&mut patch, model, hidden)?;
        let read = match over {
            Over::Text => embedding,
            Over::Tokens => hidden,
        };
        let dropped = match self.dropout {
            0.0 => read,
            ratio => {
                let ratio = [("ratio", Attribute::Float(ratio))];
                patch.node(OpName::refit("Dropout"), "classifier.dropout", &[read], ratio)
            }
        };
        let weight = patch.initializer(WEIGHT, weight, true);
        let bias = patch.initializer(BIAS, bias, true);
        let transposed = [("transB", Attribute::Int(1))];
        let inputs = [dropped, weight, bias];
        let logits = patch.node(OpName::refit("Linear"), "classifier", &inputs, transposed);

        let batch = batch_axis(graph, hidden);
        patch.set_fact(embedding, Fact::new(DType::F32, [batch.clone(), size.into()]));
        let mut axes = vec![batch];
        if over == Over::Tokens {
            axes.push(axis(graph, hidden, 1));
        }
        axes.push(self.labels.into());
        patch.set_fact(logits, Fact::new(DType::F32, axes));
        patch.set_outputs(vec![logits, embedding]);
        for (id, name) in [(weight, WEIGHT), (bias, BIAS), (logits, "logits"), (embedding, "embedding")] {
            patch.rename(id, name);
        }
        Ok(patch)
    }

    /// First values of weight `[labels, size]` and bias `[labels]`.
    fn initial(&self, graph: &Graph, size: usize) -> Result<(HostTensor, HostTensor), PassError> {
        let mut weight = random::normal(self.seed, WEIGHT, self.labels * size, DEVIATION);
        let mut bias = vec![0.0; self.labels];
        if self.carried.len() > self.labels {
            let (given, labels) = (self.carried.len(), self.labels);
            return Err(PassError::refused(format!(
                "{given} rows are to be carried over, but there are {labels} labels"
            )));
        }
        if self.carried.iter().any(Option::is_some) {
            let old = OldHead::find(graph, size)?;
            for (label, row) in self.carried.iter().enumerate() {
                let Some(row) = row else { continue };
                let (values, offset) = old.row(*row, size)?;
                weight[label * size..(label + 1) * size].copy_from_slice(values);
                bias[label] = offset;
            }
        }
        Ok((HostTensor::from_f32(&[self.labels, size], &weight), HostTensor::from_f32(&[self.labels], &bias)))
    }
}

/// The head that is there, one row a label.
struct OldHead {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl OldHead {
    fn find(graph: &Graph, size: usize) -> Result<Self, PassError> {
        let tensor = |name| graph.find(name).and_then(|id| graph.initializer(id)).map(|i| &i.tensor);
        let (Some(weight), Some(bias)) = (tensor(WEIGHT), tensor(BIAS)) else {
            return Err(PassError::refused("the model has no head whose rows could be carried over"));
        };
        let by_column = match weight.shape() {
            [rows, columns] if *columns == size && bias.shape() == [*rows] => is_by_column(graph),
            [columns, rows] if *columns == size && bias.shape() == [*rows] => true,
            shape => {
                return Err(PassError::refused(format!(
                    "the present head has weights of shape {shape:?}, which do not fit hidden vectors of {size}"
                )));
            }
        };
        let (Some(mut values), Some(bias)) = (weight.to_f32(), bias.to_f32()) else {
            return Err(PassError::refused("the present head is not in floating point"));
        };
        if by_column {
            let labels = bias.len();
            values = (0..labels * size).map(|index| values[index % size * labels + index / size]).collect();
        }
        Ok(Self { weight: values, bias })
    }

    fn row(&self, row: usize, size: usize) -> Result<(&[f32], f32), PassError> {
        match (self.weight.get(row * size..(row + 1) * size), self.bias.get(row)) {
            (Some(values), Some(offset)) => Ok((values, *offset)),
            _ => Err(PassError::refused(format!(
                "row {row} cannot be carried over: the present head has {} rows",
                self.bias.len()
            ))),
        }
    }
}

/// Whether the present head holds its weight as `[hidden, labels]` (asked only when it is square).
fn is_by_column(graph: &Graph) -> bool {
    let Some(weight) = graph.find(WEIGHT) else { return false };
    let reader = graph.nodes().find(|(_, node)| node.input(1) == Some(weight));
    reader.is_some_and(|(_, node)| node.int("transB") != Some(1))
}

/// The hidden state of this name and its width.
pub(super) fn hidden_state(graph: &Graph, at: &str, pool: Pool) -> Result<(ValueId, usize), PassError> {
    let hidden = graph.find(at).ok_or_else(|| {
        let outputs: Vec<&str> = graph.outputs().iter().map(|id| graph.value(*id).name.as_str()).collect();
        PassError::refused(format!(
            "the graph has no value \"{at}\" for the head to read; its outputs are {}",
            outputs.join(", ")
        ))
    })?;
    let fact = graph.fact(hidden);
    match fact.shape.as_deref() {
        Some([_, _, Dim::Known(size)]) if pool != Pool::None => Ok((hidden, *size)),
        Some([_, Dim::Known(size)]) if pool == Pool::None => Ok((hidden, *size)),
        _ => Err(PassError::refused(format!(
            "a head that pools by {pool} needs {} of a fixed length, but \"{at}\" is {fact}",
            pool.reads()
        ))),
    }
}

pub(super) fn batch_axis(graph: &Graph, hidden: ValueId) -> Dim {
    axis(graph, hidden, 0)
}

fn axis(graph: &Graph, hidden: ValueId, place: usize) -> Dim {
    graph.fact(hidden).shape.as_ref().and_then(|shape| shape.get(place)).cloned().unwrap_or(Dim::Unknown)
}
