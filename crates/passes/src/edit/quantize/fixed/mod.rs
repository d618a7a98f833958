//! int8 with scales that are fixed beforehand, from ranges that were seen on training rows.
//!
//! ```text
//! x -> MatMul(W[K,N]) -> y
//! =>  x -> QuantizeLinear(s, z) -> DequantizeLinear -> MatMul(DequantizeLinear(W s8, scale[N])) -> y
//!
//! x -> Conv(W, b) -> Relu -> Add(residual) -> ...
//! =>  x -> Q -> DQ -> Conv(DQ(W s8, scale[M]), DQ(b s32)) -> Relu -> Q -> DQ -> Add [-> Relu] -> Q -> DQ -> ...
//!
//! x -> MatMul(W[K,N]) -> y                                               [FixedForm::Products]
//! =>  x -> QuantizeLinear(s, z) -> MatMulInteger(W s8, z) -> Cast -> Mul(s * scale[N]) -> y
//!
//! x -> MatMul(W[K,N]) -> y                                               [FixedForm::Operators]
//! =>  x -> QuantizeLinear(s, z) -> QLinearMatMul(W s8, scale[N], t, u) -> DequantizeLinear(t, u) -> y
//!
//! x -> Conv(W, b) -> Relu -> MaxPool -> ...                              [FixedForm::Operators]
//! =>  x -> Q -> QLinearConv(W s8, scale[M], b s32) -> MaxPool -> ...
//! ```
//!
//! The first is the QDQ form of the standard: operators stay what they are, between pairs of QuantizeLinear and
//! DequantizeLinear that an engine fuses with them. Activations are u8, weights s8 with a scale for each output channel:
//! the pair for which x86 has instructions. Results of a matrix product stay in float32, which costs nothing where the
//! engine multiplies integers into floats; those of a convolution are quantized, and what lies between convolutions
//! (sums, pools, joins, changes of shape) is quantized with them, so that a convolutional network is integers from its
//! first convolution to its last; a convolution of a single channel stays in float32 and makes integers. Scales do not
//! depend on the input, so an answer does not depend on its batch.
//!
//! In the form of operators (QOperator in ONNX Runtime's words) a layer is one operator of integers of the standard,
//! whose result is u8 too. What the standard has no such operator for (sums, GELU, norms, softmax) computes in float32
//! between a DequantizeLinear and a QuantizeLinear.

mod activation;
mod glue;
mod operators;
mod weight;

pub use activation::ActivationRange;

use super::{QuantizableLayer, layers, lowered_only};
use crate::rewrite::Rewrite;
use crate::{Edit, PassError, Tolerance};
use activation::Steps;
use refit_graph::{Attribute, DType, Graph, HostTensor, Model, Node, OpName, Patch, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How an integer product is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FixedForm {
    /// Operators of float32 between pairs of QuantizeLinear and DequantizeLinear, which ONNX Runtime fuses.
    #[default]
    Pairs,
    /// Matrix products as operators of integers, for engines that do not fuse pairs (tract); convolutions in pairs.
    Products,
    /// Layers as QLinearMatMul and QLinearConv, from u8 to u8, for engines that know no pairs.
    Operators,
}

/// Turns the matrix products and convolutions of a lowered model ([`crate::lower::portable`]) into int8 with fixed
/// scales.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuantizeInt8Fixed {
    /// The range of every value that [`QuantizeInt8Fixed::activations`] names.
    pub ranges: BTreeMap<String, ActivationRange>,
    /// Names of the weights whose layers stay in float32.
    pub keep: BTreeSet<String>,
    /// How products are written.
    pub form: FixedForm,
}

impl QuantizeInt8Fixed {
    /// The layers that it takes to int8 when none is kept, in the order of the graph.
    pub fn layers(model: &Model) -> Vec<QuantizableLayer> {
        let graph = &model.graph;
        layers::of_weights(graph, graph.nodes().filter_map(|(_, node)| weight::of(graph, node)))
    }

    /// The values whose ranges a form needs when no layer is kept: what calibration has to look at.
    ///
    /// # Errors
    /// When the model is not lowered, or has nothing to quantize.
    pub fn activations(model: &Model, form: FixedForm) -> Result<Vec<String>, PassError> {
        let nothing = BTreeSet::new();
        let mut quantizer = Quantizer::new(model, &nothing, None, form);
        quantizer.run()?;
        Ok(quantizer.asked)
    }
}

impl Edit for QuantizeInt8Fixed {
    fn name(&self) -> &'static str {
        "quantize-int8-fixed"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Measured
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let mut quantizer = Quantizer::new(model, &self.keep, Some(&self.ranges), self.form);
        quantizer.run()?;
        Ok(quantizer.rewrite.patch)
    }
}

/// A value as integers.
#[derive(Clone, Copy)]
struct Pair {
    /// u8: what QuantizeLinear makes.
    integers: ValueId,
    /// float32 again: what DequantizeLinear makes of them.
    read: ValueId,
    /// The scale as a constant.
    scale: ValueId,
    /// The zero point as a constant.
    zero: ValueId,
    steps: Steps,
}

/// The rewriting of one graph, in its order.
struct Quantizer<'a> {
    rewrite: Rewrite<'a>,
    keep: &'a BTreeSet<String>,
    /// `None` while it is found out which ranges are needed.
    ranges: Option<&'a BTreeMap<String, ActivationRange>>,
    /// Names of the values whose ranges were asked for.
    asked: Vec<String>,
    form: FixedForm,
    /// Values that everybody reads through a pair of QuantizeLinear and DequantizeLinear.
    integers: HashMap<ValueId, Pair>,
    /// Values with such a pair for quantized layers alone.
    pairs: HashMap<ValueId, Pair>,
    /// Quantized weights by value and axis.
    weights: HashMap<ValueId, weight::Quantized>,
    /// Layers that were quantized.
    count: usize,
}

impl<'a> Quantizer<'a> {
    fn new(
        model: &'a Model,
        keep: &'a BTreeSet<String>,
        ranges: Option<&'a BTreeMap<String, ActivationRange>>,
        form: FixedForm,
    ) -> Self {
        Self {
            rewrite: Rewrite::new(model),
            keep,
            ranges,
            asked: Vec::new(),
            form,
            integers: HashMap::new(),
            pairs: HashMap::new(),
            weights: HashMap::new(),
            count: 0,
        }
    }

    fn graph(&self) -> &'a Graph {
        self.rewrite.graph()
    }

    fn run(&mut self) -> Result<(), PassError> {
        lowered_only(self.graph())?;
        for (_, node) in self.graph().nodes() {
            match weight::of(self.graph(), node) {
                Some(weight) if !self.keep.contains(&self.graph().value(weight).name) => {
                    self.layer(node, weight)?;
                }
                _ => self.between(node)?,
            }
        }
        if self.count == 0 {
            return Err(PassError::refused(
                "the model has no matrix product or convolution by a constant weight to quantize",
            ));
        }
        Ok(())
    }

    /// A matrix product or convolution.
    fn layer(&mut self, node: &Node, weight: ValueId) -> Result<(), PassError> {
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
            return Err(PassError::refused("a layer lacks its input or output"));
        };
        let pair = self.pair(x)?;
        let weight = self.weight(node, weight)?;
        self.count += 1;
        if self.form == FixedForm::Operators && self.has_operator(node) {
            return self.operator(node, y, &pair, &weight);
        }
        if node.op.is("MatMul") && self.form == FixedForm::Products {
            self.product(y, &pair, &weight);
            return Ok(());
        }
        let mut new = node.clone();
        new.inputs[0] = Some(pair.read);
        new.inputs[1] = Some(weight.read);
        if let Some(bias) = node.input(2) {
            new.inputs[2] = Some(self.bias(bias, &pair.steps, &weight)?);
        }
        self.rewrite.replace_node(node, new);
        if node.op.is("Conv") && !self.ends_in_activation(y) {
            let new = self.rewrite.current(y);
            self.everybody(y, new)?;
        }
        Ok(())
    }

    /// Whether the only reader of a convolution or sum is an activation that the engine computes with it.
    fn ends_in_activation(&self, y: ValueId) -> bool {
        self.activation_of(y).is_some()
    }

    /// The activation that alone reads the result of a convolution or sum.
    fn activation_of(&self, y: ValueId) -> Option<&'a Node> {
        let mut nodes = self.graph().nodes().map(|(_, node)| node);
        let reader = nodes.find(|node| glue::is_activation(node) && node.input(0) == Some(y));
        reader.filter(|_| self.rewrite.read_once(y))
    }

    /// A matrix product of integers, whose sums the two scales turn into floats.
    fn product(&mut self, y: ValueId, pair: &Pair, weight: &weight::Quantized) {
        let named = &self.graph().value(y).name;
        let name = |part: &str| format!("{named}.{part}");
        let scales: Vec<f32> = weight.scales.iter().map(|scale| scale * pair.steps.scale).collect();
        let scale = HostTensor::from_f32(&[scales.len()], &scales);
        let patch = &mut self.rewrite.patch;
        let inputs = [pair.integers, weight.integers, pair.zero];
        let sums = patch.node(OpName::standard("MatMulInteger"), &name("integers"), &inputs, []);
        let to = [("to", Attribute::Int(DType::F32.to_onnx().into()))];
        let floats = patch.node(OpName::standard("Cast"), &name("floats"), &[sums], to);
        let scale = patch.initializer(&name("scale"), scale, false);
        let result = patch.node(OpName::standard("Mul"), &name("int8"), &[floats, scale], []);
        self.rewrite.replace(y, result);
    }

    /// `x` through a pair of its own, for quantized layers, unless everybody reads it through one.
    fn pair(&mut self, x: ValueId) -> Result<Pair, PassError> {
        if let Some(done) = self.integers.get(&x).or_else(|| self.pairs.get(&x)) {
            return Ok(*done);
        }
        let steps = self.steps(x)?;
        let pair = self.add_pair(x, self.rewrite.current(x), steps);
        self.pairs.insert(x, pair);
        Ok(pair)
    }

    /// Lets everybody read `y`, which `from` makes, through a pair.
    fn everybody(&mut self, y: ValueId, from: ValueId) -> Result<(), PassError> {
        let steps = self.steps(y)?;
        self.everybody_at(y, from, steps);
        Ok(())
    }

    fn everybody_at(&mut self, y: ValueId, from: ValueId, steps: Steps) {
        let pair = self.add_pair(y, from, steps);
        self.rewrite.replace(y, pair.read);
        self.integers.insert(y, pair);
    }

    fn steps(&mut self, x: ValueId) -> Result<Steps, PassError> {
        Ok(Steps::of(self.range(x)?))
    }

    fn range(&mut self, x: ValueId) -> Result<ActivationRange, PassError> {
        let name = &self.graph().value(x).name;
        let Some(ranges) = self.ranges else {
            self.asked.push(name.clone());
            return Ok(ActivationRange { low: 0.0, high: 1.0 });
        };
        let range = ranges.get(name).filter(|range| range.low.is_finite() && range.high.is_finite());
        range.copied().ok_or_else(|| {
            PassError::refused(format!("nothing is known of the range of \"{name}\": calibrate it first"))
        })
    }

    fn add_pair(&mut self, named: ValueId, from: ValueId, steps: Steps) -> Pair {
        let name = &self.graph().value(named).name;
        let (scale, zero) = steps.constants(&mut self.rewrite.patch, name);
        let patch = &mut self.rewrite.patch;
        let integers = patch.node(
            OpName::standard("QuantizeLinear"),
            &format!("{name}.uint8"),
            &[from, scale, zero],
            [],
        );
        self.read(named, integers, [scale, zero], steps)
    }

    /// The pair of integers that are there already, with their scale and zero point.
    fn read(&mut self, named: ValueId, integers: ValueId, [scale, zero]: [ValueId; 2], steps: Steps) -> Pair {
        let name = format!("{}.steps", self.graph().value(named).name);
        let inputs = [integers, scale, zero];
        let read = self.rewrite.patch.node(OpName::standard("DequantizeLinear"), &name, &inputs, []);
        Pair { integers, read, scale, zero, steps }
    }
}
