//! What lies between convolutions.

use super::{FixedForm, Quantizer, weight};
use crate::PassError;
use refit_graph::{Node, ValueId};

/// Operators that compute on the same steps that they read.
const SAME_STEPS: [&str; 6] = ["MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"];
/// Operators of one activation whose result has steps of its own.
const OWN_STEPS: [&str; 2] = ["GlobalAveragePool", "AveragePool"];
/// Operators of several activations, all of which have to be integers.
const SEVERAL: [&str; 2] = ["Add", "Concat"];

/// Activations that an engine computes with the convolution before them: clipping, which the range does too.
pub(super) fn is_activation(node: &Node) -> bool {
    node.op.is("Relu") || node.op.is("Clip")
}

impl Quantizer<'_> {
    /// An operator that is no quantized layer: its result is integers where those that it reads are.
    pub(super) fn between(&mut self, node: &Node) -> Result<(), PassError> {
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else { return Ok(()) };
        let is_one_of = |names: &[&str]| names.iter().any(|name| node.op.is(name));
        let read = |quantizer: &Self, id: &ValueId| quantizer.integers.contains_key(id);
        if read(self, &y) {
            // A QLinearConv has clipped already.
            return Ok(());
        }
        if is_activation(node) && (self.is_of_quantized_convolution(x) || self.ends_in_integers(x)) {
            return self.everybody(y, y);
        }
        if self.is_quantized_sum(node) || weight::is_of_one_channel(self.graph(), node) {
            // Rounded after it was clipped it is rounded once, and ONNX Runtime computes a sum and its clipping on integers.
            return if self.ends_in_activation(y) { Ok(()) } else { self.everybody(y, y) };
        }
        if is_one_of(&OWN_STEPS) && read(self, &x) {
            return self.everybody(y, y);
        }
        if is_one_of(&SAME_STEPS)
            && let Some(pair) = self.integers.get(&x).copied()
        {
            match self.form {
                FixedForm::Operators if node.outputs.len() == 1 => self.of_integers(node, y, &pair),
                _ => self.everybody_at(y, y, pair.steps),
            }
        }
        Ok(())
    }

    /// Whether a node takes several values, all of which are integers.
    fn is_quantized_sum(&self, node: &Node) -> bool {
        SEVERAL.iter().any(|name| node.op.is(name))
            && node.inputs.iter().flatten().all(|input| self.integers.contains_key(input))
    }

    /// Whether `x` is what such a node made, or a convolution of one channel, and its activation alone reads it.
    fn ends_in_integers(&self, x: ValueId) -> bool {
        let mut producers = SEVERAL.iter().chain(&["Conv"]).filter_map(|name| self.rewrite.made_by(x, name));
        let becomes_integers = producers
            .any(|node| self.is_quantized_sum(node) || weight::is_of_one_channel(self.graph(), node));
        becomes_integers && self.rewrite.read_once(x)
    }

    /// Whether `x` is what a quantized convolution made and nobody reads through a pair: its activation follows.
    fn is_of_quantized_convolution(&self, x: ValueId) -> bool {
        let producer = self.rewrite.made_by(x, "Conv");
        let weight = producer.and_then(|conv| conv.input(1));
        weight.is_some_and(|weight| self.weights.contains_key(&weight)) && self.rewrite.read_once(x)
    }
}
