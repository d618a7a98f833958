//! Layers as operators of integers of the standard.
//!
//! ```text
//! x u8 -> QLinearConv(W s8, scale[M], t, u, b s32) -> y u8         the activation after it is in the steps t, u
//! x u8 -> QLinearMatMul(W s8, scale[N], t, u) -> DequantizeLinear(t, u) [-> Add(b)] -> y
//! ```
//!
//! A convolution adds its bias to its sums before they are rounded. A matrix product of the standard has none, so that
//! the bias of a Gemm is added in float32, as that of a linear layer is.

use super::weight::Quantized;
use super::{ActivationRange, Pair, Quantizer, Steps};
use crate::PassError;
use crate::lower::transpose;
use refit_graph::{HostTensor, Node, OpName, ValueId};

impl Quantizer<'_> {
    /// Whether the standard has an operator of integers for a layer: what it adds has to be constant.
    pub(super) fn has_operator(&self, node: &Node) -> bool {
        node.input(2)
            .is_none_or(|bias| self.rewrite.constant(bias).is_some_and(|bias| bias.dtype().is_float()))
    }

    /// A layer from u8 to u8.
    pub(super) fn operator(
        &mut self,
        node: &Node,
        y: ValueId,
        x: &Pair,
        weight: &Quantized,
    ) -> Result<(), PassError> {
        if node.op.is("Conv") {
            self.convolution(node, y, x, weight)
        } else {
            self.matrix(node, y, x, weight)
        }
    }

    fn convolution(
        &mut self,
        node: &Node,
        y: ValueId,
        x: &Pair,
        weight: &Quantized,
    ) -> Result<(), PassError> {
        let (result, clipped) = self.clipped(y).unwrap_or((y, EVERYTHING));
        let range = self.range(result)?;
        let within = |end: f32| end.clamp(clipped.low, clipped.high);
        let steps = Steps::of(ActivationRange { low: within(range.low), high: within(range.high) });
        let bias = match node.input(2) {
            None => None,
            Some(bias) => Some(self.bias_integers(bias, &x.steps, weight)?.ok_or_else(|| {
                let name = &self.graph().value(bias).name;
                PassError::refused(format!("\"{name}\" is not one number for each channel"))
            })?),
        };
        let bias = bias.map(|(integers, _)| integers);
        let factors = [[x.integers, x.scale, x.zero], [weight.integers, weight.scale, weight.zero]];
        let made = self.scaled("QLinearConv", result, factors, steps, bias);
        self.rewrite.patch.set_attributes(node.attributes.clone());
        let pair = self.read(result, made.integers, made.steps, steps);
        self.rewrite.replace(result, pair.read);
        self.integers.insert(result, pair);
        Ok(())
    }

    /// A MatMul or Gemm.
    fn matrix(&mut self, node: &Node, y: ValueId, x: &Pair, weight: &Quantized) -> Result<(), PassError> {
        let bias = node.input(2);
        let steps = Steps::of(without(self.range(y)?, bias.and_then(|bias| self.rewrite.constant(bias))));
        let integers = match node.int("transB") {
            Some(1) => self.transposed(node, weight)?,
            _ => weight.integers,
        };
        let factors = [[x.integers, x.scale, x.zero], [integers, weight.scale, weight.zero]];
        let made = self.scaled("QLinearMatMul", y, factors, steps, None);
        let pair = self.read(y, made.integers, made.steps, steps);
        match bias {
            Some(bias) => {
                let name = format!("{}.sum", self.graph().value(y).name);
                let sum = self.rewrite.patch.node(OpName::standard("Add"), &name, &[pair.read, bias], []);
                self.rewrite.replace(y, sum);
            }
            None => {
                self.rewrite.replace(y, pair.read);
                self.pairs.insert(y, pair);
            }
        }
        Ok(())
    }

    /// The operator `op` of two factors, each its integers, scale and zero point, whose result has these steps and is
    /// called after `named`.
    fn scaled(
        &mut self,
        op: &str,
        named: ValueId,
        factors: [[ValueId; 3]; 2],
        steps: Steps,
        bias: Option<ValueId>,
    ) -> Made {
        let name = self.graph().value(named).name.clone();
        let patch = &mut self.rewrite.patch;
        let (scale, zero) = steps.constants(patch, &name);
        let inputs: Vec<ValueId> = factors.into_iter().flatten().chain([scale, zero]).chain(bias).collect();
        let integers = patch.node(OpName::standard(op), &format!("{name}.uint8"), &inputs, []);
        Made { integers, steps: [scale, zero] }
    }

    /// The integers of a Gemm's weight `[N, K]` as `[K, N]`.
    fn transposed(&mut self, node: &Node, weight: &Quantized) -> Result<ValueId, PassError> {
        let tensor = transpose(&weight.tensor).ok_or_else(|| PassError::refused("a weight is no matrix"))?;
        let name = node.input(1).map_or("weight", |weight| &self.graph().value(weight).name);
        Ok(self.rewrite.patch.initializer(&format!("{name}.int8.T"), tensor, false))
    }

    /// What an activation makes of a convolution's result that nobody else reads, and the ends to which it clips it:
    /// integers in the steps of what it makes are clipped by their type. `None` where the ends are not constant, or
    /// leave out 0, which every u8 can take.
    fn clipped(&self, y: ValueId) -> Option<(ValueId, ActivationRange)> {
        let activation = self.activation_of(y)?;
        let end = |index: usize, usual: f32| match activation.input(index) {
            None => Some(usual),
            Some(end) => self.rewrite.scalar(end),
        };
        let (low, high) = match activation.op.is("Relu") {
            true => (0.0, f32::INFINITY),
            false => (end(1, f32::NEG_INFINITY)?, end(2, f32::INFINITY)?),
        };
        let result = activation.output(0)?;
        (low <= 0.0 && high >= 0.0).then_some((result, ActivationRange { low, high }))
    }

    /// An operator that computes on integers what it computes on the floats that they stand for.
    pub(super) fn of_integers(&mut self, node: &Node, y: ValueId, x: &Pair) {
        let name = format!("{}.uint8", self.graph().value(y).name);
        let rest = node.inputs.iter().skip(1).map(|input| input.map(|id| self.rewrite.current(id)));
        let inputs: Vec<Option<ValueId>> = std::iter::once(Some(x.integers)).chain(rest).collect();
        let integers = self.rewrite.patch.node_with(node.op.clone(), &name, inputs, 1, [])[0];
        self.rewrite.patch.set_attributes(node.attributes.clone());
        let pair = self.read(y, integers, [x.scale, x.zero], x.steps);
        self.rewrite.replace(y, pair.read);
        self.integers.insert(y, pair);
    }
}

/// Integers that an operator made, and their scale and zero point.
struct Made {
    integers: ValueId,
    steps: [ValueId; 2],
}

const EVERYTHING: ActivationRange = ActivationRange { low: f32::NEG_INFINITY, high: f32::INFINITY };

/// A range that holds what a value of this range was before a bias was added to it.
fn without(range: ActivationRange, bias: Option<&HostTensor>) -> ActivationRange {
    let values = bias.and_then(HostTensor::to_f32).unwrap_or_default();
    let Some(least) = values.iter().copied().reduce(f32::min) else { return range };
    let greatest = values.iter().copied().fold(least, f32::max);
    ActivationRange { low: range.low - greatest, high: range.high - least }
}
