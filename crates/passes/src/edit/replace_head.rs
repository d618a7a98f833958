//! Puts a classification head on an encoder.
//!
//! ```text
//! hidden[B,S,H] -> (old outputs)   =>   hidden[B,S,H] -> pool -> embedding[B,H] -> Dropout -> Linear -> logits[B,C]
//!                                       attention_mask --^                                ^ classifier.weight [C,H]
//!                                                                                           classifier.bias [C]
//! ```
//!
//! A head that is there already goes; rows of it may be carried over, so that a model that learns a new
//! label keeps what it knew of the others.

use super::random;
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Attribute, DType, Dim, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId};

/// With what the names of a head's parameters begin.
pub const HEAD_PREFIX: &str = "classifier.";

const WEIGHT: &str = "classifier.weight";
const BIAS: &str = "classifier.bias";

/// Standard deviation of new rows, BERT's `initializer_range`.
const DEVIATION: f32 = 0.02;

/// How hidden vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The mean over the positions that `attention_mask` keeps.
    Mean,
    /// The vector at the first position.
    Cls,
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
        let graph = &model.graph;
        let (hidden, size) = self.hidden(graph)?;
        if self.labels < 2 {
            return Err(PassError::refused(format!(
                "a classifier needs two labels at least, not {}",
                self.labels
            )));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(PassError::refused(format!("a dropout of {} is not in [0, 1)", self.dropout)));
        }
        let (weight, bias) = self.initial(graph, size)?;

        let mut patch = Patch::new(graph);
        let embedding = match self.pool {
            Pool::Cls => first_position(&mut patch, hidden),
            Pool::Mean => masked_mean(&mut patch, hidden, mask(graph)?),
        };
        let dropped = match self.dropout {
            0.0 => embedding,
            ratio => {
                let ratio = [("ratio", Attribute::Float(ratio))];
                patch.node(OpName::refit("Dropout"), "classifier.dropout", &[embedding], ratio)
            }
        };
        let weight = patch.initializer(WEIGHT, weight, true);
        let bias = patch.initializer(BIAS, bias, true);
        let transposed = [("transB", Attribute::Int(1))];
        let inputs = [dropped, weight, bias];
        let logits = patch.node(OpName::refit("Linear"), "classifier", &inputs, transposed);

        let batch = batch_axis(graph, hidden);
        patch.set_fact(embedding, Fact::new(DType::F32, [batch.clone(), size.into()]));
        patch.set_fact(logits, Fact::new(DType::F32, [batch, self.labels.into()]));
        patch.set_outputs(vec![logits, embedding]);
        for (id, name) in [(weight, WEIGHT), (bias, BIAS), (logits, "logits"), (embedding, "embedding")] {
            patch.rename(id, name);
        }
        Ok(patch)
    }
}

impl ReplaceHead {
    fn hidden(&self, graph: &Graph) -> Result<(ValueId, usize), PassError> {
        let hidden = graph.find(&self.at).ok_or_else(|| {
            let outputs: Vec<&str> =
                graph.outputs().iter().map(|id| graph.value(*id).name.as_str()).collect();
            PassError::refused(format!(
                "the graph has no value \"{}\" for the head to read; its outputs are {}",
                self.at,
                outputs.join(", ")
            ))
        })?;
        let fact = graph.fact(hidden);
        match fact.shape.as_deref() {
            Some([_, _, Dim::Known(size)]) => Ok((hidden, *size)),
            _ => Err(PassError::refused(format!(
                "a head needs hidden vectors [batch, sequence, hidden] of a fixed length, but \"{}\" is {fact}",
                self.at
            ))),
        }
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

fn mask(graph: &Graph) -> Result<ValueId, PassError> {
    let inputs = graph.inputs().iter().copied();
    inputs.into_iter().find(|id| graph.value(*id).name == "attention_mask").ok_or_else(|| {
        PassError::refused(
            "mean pooling needs the input \"attention_mask\", which the graph lacks; pool by cls",
        )
    })
}

fn batch_axis(graph: &Graph, hidden: ValueId) -> Dim {
    graph.fact(hidden).shape.as_ref().and_then(|shape| shape.first()).cloned().unwrap_or(Dim::Unknown)
}

fn first_position(patch: &mut Patch, hidden: ValueId) -> ValueId {
    let zero = patch.initializer("pooling.first", HostTensor::from_i64(&[], &[0]), false);
    let axis = [("axis", Attribute::Int(1))];
    patch.node(OpName::standard("Gather"), "pooling.cls", &[hidden, zero], axis)
}

/// The sum of hidden * mask over the sequence, divided by the number of tokens.
fn masked_mean(patch: &mut Patch, hidden: ValueId, mask: ValueId) -> ValueId {
    let last = patch.initializer("pooling.last_axis", HostTensor::from_i64(&[1], &[-1]), false);
    let sequence = patch.initializer("pooling.sequence_axis", HostTensor::from_i64(&[1], &[1]), false);
    let one = patch.initializer("pooling.one", HostTensor::from_f32(&[], &[1.0]), false);
    let mut node = |op: &str, name: &str, inputs: &[ValueId], attribute: Option<(&'static str, i64)>| {
        let attributes = attribute.map(|(key, value)| (key, Attribute::Int(value)));
        patch.node(OpName::standard(op), name, inputs, attributes)
    };
    let kept = node("Cast", "pooling.mask", &[mask], Some(("to", DType::F32.to_onnx().into())));
    let wide = node("Unsqueeze", "pooling.mask_of_tokens", &[kept, last], None);
    let tokens = node("Mul", "pooling.tokens", &[hidden, wide], None);
    let sum = node("ReduceSum", "pooling.sum", &[tokens, sequence], Some(("keepdims", 0)));
    let count = node("ReduceSum", "pooling.count", &[kept, sequence], Some(("keepdims", 1)));
    // A row of padding alone gives the zero vector instead of a division by zero.
    let count = node("Max", "pooling.count_at_least_one", &[count, one], None);
    node("Div", "pooling.mean", &[sum, count], None)
}
