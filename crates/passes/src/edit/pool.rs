//! How the hidden vectors of an example become one.

use crate::PassError;
use refit_graph::{Attribute, DType, Graph, HostTensor, Model, OpName, Patch, ValueId};
use std::fmt;

/// How hidden vectors become one. Where the graph has an input `attention_mask`, padding does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The mean over the positions.
    Mean,
    /// The vector at the first position.
    Cls,
    /// The largest value at any position, each element for itself.
    Max,
    /// There is one vector already.
    None,
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Max => "max",
            Self::None => "none",
        })
    }
}

impl Pool {
    /// What it reads, for messages.
    pub(super) fn reads(self) -> &'static str {
        match self {
            Self::None => "one vector an example [batch, hidden]",
            _ => "hidden vectors [batch, sequence, hidden]",
        }
    }

    /// Adds the nodes that pool `hidden`: float32 `[batch, sequence, hidden]` to `[batch, hidden]`.
    pub(super) fn apply(
        self,
        patch: &mut Patch,
        model: &Model,
        hidden: ValueId,
    ) -> Result<ValueId, PassError> {
        let graph = &model.graph;
        Ok(match (self, mask(graph)) {
            (Self::None, _) => hidden,
            (Self::Cls, _) => first_position(patch, hidden),
            (Self::Mean, Some(mask)) => masked_mean(patch, hidden, mask),
            (Self::Max, Some(mask)) => {
                let kept = masked(patch, hidden, mask);
                reduced(patch, model, "ReduceMax", "pooling.max", kept)
            }
            (_, None) if is_text(graph) => {
                return Err(PassError::refused(format!(
                    "{self} pooling needs the input \"attention_mask\", which the graph lacks; pool by cls"
                )));
            }
            (Self::Mean, None) => reduced(patch, model, "ReduceMean", "pooling.mean", hidden),
            (Self::Max, None) => reduced(patch, model, "ReduceMax", "pooling.max", hidden),
        })
    }
}

fn input(graph: &Graph, name: &str) -> Option<ValueId> {
    graph.inputs().iter().copied().find(|id| graph.value(*id).name == name)
}

fn mask(graph: &Graph) -> Option<ValueId> {
    input(graph, "attention_mask")
}

/// Texts of a batch are padded; patches of images are not.
fn is_text(graph: &Graph) -> bool {
    let reads_tokens = |id: &ValueId| graph.fact(*id).dtype.is_none_or(|dtype| !dtype.is_float());
    graph.inputs().iter().any(reads_tokens)
}

fn first_position(patch: &mut Patch, hidden: ValueId) -> ValueId {
    let zero = patch.initializer("pooling.first", HostTensor::from_i64(&[], &[0]), false);
    let axis = [("axis", Attribute::Int(1))];
    patch.node(OpName::standard("Gather"), "pooling.cls", &[hidden, zero], axis)
}

/// A reduction over the sequence, whose axes are an attribute before opset 18.
fn reduced(patch: &mut Patch, model: &Model, op: &str, name: &str, hidden: ValueId) -> ValueId {
    let mut attributes = vec![("keepdims", Attribute::Int(0))];
    let mut inputs = vec![hidden];
    if model.opset() >= 18 {
        inputs.push(patch.initializer("pooling.sequence_axis", HostTensor::from_i64(&[1], &[1]), false));
    } else {
        attributes.push(("axes", Attribute::Ints(vec![1])));
    }
    patch.node(OpName::standard(op), name, &inputs, attributes)
}

/// The lowest float32 in place of padding.
fn masked(patch: &mut Patch, hidden: ValueId, mask: ValueId) -> ValueId {
    let last = patch.initializer("pooling.last_axis", HostTensor::from_i64(&[1], &[-1]), false);
    let padding = patch.initializer("pooling.padding", HostTensor::from_i64(&[], &[0]), false);
    let lowest = patch.initializer("pooling.lowest", HostTensor::from_f32(&[], &[f32::MIN]), false);
    let mut node =
        |op: &str, name: &str, inputs: &[ValueId]| patch.node(OpName::standard(op), name, inputs, []);
    let wide = node("Unsqueeze", "pooling.mask_of_tokens", &[mask, last]);
    let is_padding = node("Equal", "pooling.is_padding", &[wide, padding]);
    node("Where", "pooling.tokens", &[is_padding, lowest, hidden])
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
