//! The nodes that blocks are made of, under the names that the weights have.

use super::Transformer;
use refit_graph::{Attribute, DType, HostTensor, OpName, ValueId};

impl Transformer {
    /// i64 `[B, S]` of ones and zeros -> additive float32 `[B, 1, 1, S]`.
    pub(super) fn additive_mask(&mut self) -> ValueId {
        let axes = self.integers("mask.axes", &[1, 2]);
        let one = self.patch.initializer("mask.one", HostTensor::from_f32(&[], &[1.0]), false);
        let lowest = self.patch.initializer("mask.lowest", HostTensor::from_f32(&[], &[f32::MIN]), false);
        let wide = self.standard("Unsqueeze", "mask.unsqueezed", &[self.inputs.mask, axes]);
        let to = Attribute::Int(DType::F32.to_onnx().into());
        let float = self.patch.node(OpName::standard("Cast"), "mask.float", &[wide], [("to", to)]);
        let padding = self.standard("Sub", "mask.padding", &[one, float]);
        self.standard("Mul", "mask.additive", &[padding, lowest])
    }

    /// The length of an input, i64 `[1]`.
    pub(crate) fn sequence(&mut self, name: &str, input: ValueId) -> ValueId {
        let from_second = [("start", Attribute::Int(1)), ("end", Attribute::Int(2))];
        self.patch.node(OpName::standard("Shape"), name, &[input], from_second)
    }

    pub(crate) fn attention_mask(&self) -> ValueId {
        self.inputs.mask
    }

    /// A parameter of the file.
    pub(crate) fn parameter(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let tensor = self.weights.take(name, shape);
        self.patch.initializer(name, tensor, true)
    }

    pub(crate) fn linear(&mut self, module: &str, x: ValueId, inputs: usize, outputs: usize) -> ValueId {
        let weight = self.parameter(&format!("{module}.weight"), &[outputs, inputs]);
        let bias = self.parameter(&format!("{module}.bias"), &[outputs]);
        let transposed = [("transB", Attribute::Int(1))];
        self.patch.node(OpName::refit("Linear"), module, &[x, weight, bias], transposed)
    }

    pub(super) fn layer_norm(&mut self, module: &str, x: ValueId, width: usize) -> ValueId {
        let gamma = self.parameter(&format!("{module}.weight"), &[width]);
        let beta = self.parameter(&format!("{module}.bias"), &[width]);
        let epsilon = [("epsilon", Attribute::Float(self.sizes.epsilon))];
        self.patch.node(OpName::refit("LayerNorm"), module, &[x, gamma, beta], epsilon)
    }

    pub(super) fn dropout(&mut self, name: &str, x: ValueId, ratio: f32) -> ValueId {
        if ratio == 0.0 {
            return x;
        }
        self.patch.node(OpName::refit("Dropout"), name, &[x], [("ratio", Attribute::Float(ratio))])
    }

    /// An operator of the standard without attributes.
    pub(crate) fn standard(&mut self, op: &str, name: &str, inputs: &[ValueId]) -> ValueId {
        self.patch.node(OpName::standard(op), name, inputs, [])
    }

    /// The axes of `x` in another order.
    pub(crate) fn transpose(&mut self, name: &str, x: ValueId, axes: &[i64]) -> ValueId {
        let axes = [("perm", Attribute::Ints(axes.to_vec()))];
        self.patch.node(OpName::standard("Transpose"), name, &[x], axes)
    }

    /// A constant i64 vector.
    pub(crate) fn integers(&mut self, name: &str, values: &[i64]) -> ValueId {
        self.patch.initializer(name, HostTensor::from_i64(&[values.len()], values), false)
    }

    /// A constant i64 scalar.
    pub(crate) fn integer(&mut self, name: &str, value: i64) -> ValueId {
        self.patch.initializer(name, HostTensor::from_i64(&[], &[value]), false)
    }
}
