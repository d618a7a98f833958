//! Operators of the standard whose form differs between the model's opset and the portable one.
//!
//! ```text
//! before 13:   Unsqueeze/Squeeze/ReduceSum(x; axes), Split(x; split)  ->  (x, axes), (x, split)
//! from 18 on:  ReduceMean/...(x, axes)                                ->  (x; axes)
//! ```

use super::PORTABLE_OPSET;
use crate::rewrite::Rewrite;
use refit_graph::{Attribute, HostTensor, Node};

/// The oldest opset whose operators are understood here; older ones differ in many places.
const OLDEST_OPSET: i64 = 11;

/// Operators that took their axes as an attribute before opset 13, with that attribute.
const INPUT_SINCE_13: [(&str, &str); 4] =
    [("Unsqueeze", "axes"), ("Squeeze", "axes"), ("ReduceSum", "axes"), ("Split", "split")];

/// Operators that take their axes as an input since opset 18.
const INPUT_SINCE_18: [&str; 9] = [
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
];

/// Operators that opset 17 does not have, or has with another meaning.
const NEWER: [&str; 18] = [
    "AffineGrid",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "CenterCropPad",
    "Col2Im",
    "DFT",
    "GridSample",
    "GroupNormalization",
    "ImageDecoder",
    "Mish",
    "Attention",
    "Pad",
    "RMSNormalization",
    "Resize",
    "RotaryEmbedding",
    "Swish",
];

/// Brings one node to the portable opset; `None` when that cannot be done.
pub(super) fn lower(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let opset = rewrite.model.opset();
    let op = node.op.name.as_str();
    if opset < OLDEST_OPSET || node.inner_graphs().next().is_some() && opset != PORTABLE_OPSET {
        return None;
    }
    if opset > PORTABLE_OPSET && NEWER.contains(&op) {
        return None;
    }
    if opset < 13 && matches!(op, "Softmax" | "LogSoftmax" | "Hardmax") {
        // Before 13 it ran over everything from `axis` on, which is the same for the last axis only.
        let axis = node.int("axis").unwrap_or(1);
        return rewrite.is_last_axis(axis, node.input(0)?).then(|| with_axis(rewrite, node, axis)).flatten();
    }
    if opset < 13
        && let Some((_, attribute)) = INPUT_SINCE_13.iter().find(|(name, _)| *name == op)
    {
        return attribute_to_input(rewrite, node, attribute);
    }
    if opset > PORTABLE_OPSET && INPUT_SINCE_18.contains(&op) {
        return input_to_attribute(rewrite, node);
    }
    if opset > PORTABLE_OPSET && op == "Split" && node.attributes.contains_key("num_outputs") {
        return None;
    }
    Some(())
}

fn with_axis(rewrite: &mut Rewrite, node: &Node, axis: i64) -> Option<()> {
    let mut new = node.clone();
    new.attributes.insert("axis".to_owned(), Attribute::Int(axis));
    rewrite.replace_node(node, new)
}

fn attribute_to_input(rewrite: &mut Rewrite, node: &Node, attribute: &str) -> Option<()> {
    let Some(values) = node.ints(attribute) else { return Some(()) };
    let name = format!("{}.{attribute}", node.name);
    let id = rewrite.patch.initializer(&name, HostTensor::from_i64(&[values.len()], values), false);
    let mut new = node.clone();
    new.attributes.remove(attribute);
    new.inputs.truncate(1);
    new.inputs.push(Some(id));
    rewrite.replace_node(node, new)
}

fn input_to_attribute(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let mut new = node.clone();
    let no_op = new.attributes.remove("noop_with_empty_axes").is_some_and(|flag| flag == Attribute::Int(1));
    match node.input(1) {
        None if no_op => return None,
        None => {}
        Some(axes) => {
            let axes = rewrite.constant(axes)?.to_i64()?;
            if axes.is_empty() && no_op {
                return None;
            }
            if !axes.is_empty() {
                new.attributes.insert("axes".to_owned(), Attribute::Ints(axes));
            }
        }
    }
    new.inputs.truncate(1);
    rewrite.replace_node(node, new)
}
