//! The nodes that blocks are made of, under the names that the weights have.

use super::Transformer;
use refit_graph::{Attribute, DType, HostTensor, OpName, ValueId};

/// Whether a module adds a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bias {
    With,
    Without,
}

impl From<bool> for Bias {
    fn from(has_bias: bool) -> Self {
        if has_bias { Self::With } else { Self::Without }
    }
}

impl Transformer {
    /// i64 `[B, S]` of ones and zeros -> additive float32 `[B, 1, 1, S]`.
    pub(super) fn additive_mask(&mut self) -> ValueId {
        let axes = self.integers("mask.axes", &[1, 2]);
        let one = self.number("mask.one", 1.0);
        let lowest = self.number("mask.lowest", f32::MIN);
        let wide = self.standard("Unsqueeze", "mask.unsqueezed", &[self.inputs.mask, axes]);
        let float = self.float("mask.float", wide);
        let padding = self.standard("Sub", "mask.padding", &[one, float]);
        self.standard("Mul", "mask.additive", &[padding, lowest])
    }

    /// The length of an input, i64 `[1]`.
    pub(crate) fn sequence(&mut self, name: &str, input: ValueId) -> ValueId {
        let from_second = [("start", Attribute::Int(1)), ("end", Attribute::Int(2))];
        self.patch.node(OpName::standard("Shape"), name, &[input], from_second)
    }

    pub(crate) fn input_ids(&self) -> ValueId {
        self.inputs.ids
    }

    /// 0 where a token is, the lowest float32 where padding is: `[B, 1, 1, S]`.
    pub(crate) fn additive(&self) -> ValueId {
        self.mask
    }

    pub(crate) fn attention_mask(&self) -> ValueId {
        self.inputs.mask
    }

    /// A parameter of the file: one, however many nodes read it.
    pub(crate) fn parameter(&mut self, name: &str, shape: &[usize]) -> ValueId {
        if let Some(taken) = self.taken.get(name) {
            return *taken;
        }
        let tensor = self.weights.take(name, shape);
        let id = self.patch.initializer(name, tensor, true);
        self.taken.insert(name.to_owned(), id);
        id
    }

    pub(crate) fn linear(&mut self, module: &str, x: ValueId, inputs: usize, outputs: usize) -> ValueId {
        self.linear_with(module, x, [inputs, outputs], Bias::With)
    }

    /// `sizes`: inputs and outputs.
    pub(crate) fn linear_with(&mut self, module: &str, x: ValueId, sizes: [usize; 2], bias: Bias) -> ValueId {
        let [inputs, outputs] = sizes;
        let weight = self.parameter(&format!("{module}.weight"), &[outputs, inputs]);
        let bias = (bias == Bias::With).then(|| self.parameter(&format!("{module}.bias"), &[outputs]));
        let transposed = [("transB", Attribute::Int(1))];
        let read: Vec<ValueId> = [x, weight].into_iter().chain(bias).collect();
        self.patch.node(OpName::refit("Linear"), module, &read, transposed)
    }

    pub(crate) fn layer_norm(&mut self, module: &str, x: ValueId, width: usize) -> ValueId {
        self.layer_norm_with(module, x, width, Bias::With)
    }

    pub(crate) fn layer_norm_with(&mut self, module: &str, x: ValueId, width: usize, bias: Bias) -> ValueId {
        let gamma = self.parameter(&format!("{module}.weight"), &[width]);
        let beta = (bias == Bias::With).then(|| self.parameter(&format!("{module}.bias"), &[width]));
        let epsilon = [("epsilon", Attribute::Float(self.sizes.epsilon))];
        let read: Vec<ValueId> = [x, gamma].into_iter().chain(beta).collect();
        self.patch.node(OpName::refit("LayerNorm"), module, &read, epsilon)
    }

    pub(crate) fn gelu(&mut self, name: &str, x: ValueId) -> ValueId {
        let approximate = [("approximate", Attribute::String(self.sizes.gelu.into()))];
        self.patch.node(OpName::refit("Gelu"), name, &[x], approximate)
    }

    pub(crate) fn dropout(&mut self, name: &str, x: ValueId, ratio: f32) -> ValueId {
        if ratio == 0.0 {
            return x;
        }
        self.patch.node(OpName::refit("Dropout"), name, &[x], [("ratio", Attribute::Float(ratio))])
    }

    /// An operator of the standard without attributes.
    pub(crate) fn standard(&mut self, op: &str, name: &str, inputs: &[ValueId]) -> ValueId {
        self.patch.node(OpName::standard(op), name, inputs, [])
    }

    /// An operator of the standard with attributes and one output.
    pub(crate) fn standard_with(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[ValueId],
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> ValueId {
        self.patch.node(OpName::standard(op), name, inputs, attributes)
    }

    /// Equal parts of the last axis.
    pub(crate) fn parts<const N: usize>(&mut self, name: &str, x: ValueId) -> [ValueId; N] {
        let last = [("axis", Attribute::Int(-1))];
        let made = self.patch.node_with(OpName::standard("Split"), name, vec![Some(x)], N, last);
        std::array::from_fn(|index| made[index])
    }

    /// As float32.
    pub(crate) fn float(&mut self, name: &str, x: ValueId) -> ValueId {
        let to = Attribute::Int(DType::F32.to_onnx().into());
        self.patch.node(OpName::standard("Cast"), name, &[x], [("to", to)])
    }

    /// The axes of `x` in another order.
    pub(crate) fn transpose(&mut self, name: &str, x: ValueId, axes: &[i64]) -> ValueId {
        let axes = [("perm", Attribute::Ints(axes.to_vec()))];
        self.patch.node(OpName::standard("Transpose"), name, &[x], axes)
    }

    /// A constant float32 scalar.
    pub(crate) fn number(&mut self, name: &str, value: f32) -> ValueId {
        self.patch.initializer(name, HostTensor::from_f32(&[], &[value]), false)
    }

    /// A constant float32 vector.
    pub(crate) fn numbers(&mut self, name: &str, values: &[f32]) -> ValueId {
        self.patch.initializer(name, HostTensor::from_f32(&[values.len()], values), false)
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
