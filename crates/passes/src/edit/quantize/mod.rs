//! int8 with a scale of its own for every token and every output channel, in operators of the standard.
//!
//! ```text
//! x -> MatMul(W[K,N]) -> y
//! =>
//! x -+-> Abs -> ReduceMax(last) -> Max(tiny) = m -+-> 127 / m --v
//!    |                                            |             |
//!    +--------------------------------------------|-----------> Mul -> QuantizeLinear(1, 128)
//!                                                 v                            v
//!                                      m / 127 = s       MatMulInteger(u8, W s8, zero point 128)
//!                                                 v                            v
//!                                            y <- Mul <----- Mul(w[N]) <----- Cast
//!
//! the last four for ONNX Runtime alone ([`RowsForm::OnnxRuntime`]):
//!     s -> Mul <- com.microsoft.MatMulIntegerToFloat(u8, W s8, 1, w[N], zero point 128)
//!
//! ids -> Gather(table[V,H])  =>  Mul(Cast(Gather(table s8, ids)), Gather(scale[V,1], ids))
//!
//! x[B,S,H] -> ReduceSum(1)   =>  Gather(CumSum(x, 1), -1)
//! ```
//!
//! Every scale comes from one row alone, so that an answer does not depend on what else is in the batch
//! (a scale per tensor makes it depend), and the integer products are exact in any order. The scaled
//! activation is rounded by a QuantizeLinear of constant scale 1: tract accepts no scale that is computed
//! at run time, and ONNX Runtime has a vectorised kernel for it. The two scales are applied one after the
//! other and s comes from a division, for ONNX Runtime (1.31 at least) fuses `MatMulInteger -> Cast ->
//! Mul(Mul(s, w))` into a product that takes s for one number, and answers wrongly. Activations are u8 around 128 and weights
//! s8 from -127 to 127: the pair for which x86 has instructions.

mod blocks;
mod embedding;
mod fixed;
mod float16;
mod layers;
mod rows;
mod smooth;
mod sums;

pub use blocks::QuantizeInt4Blocks;
pub use fixed::{ActivationRange, FixedForm, QuantizeInt8Fixed};
pub use float16::Float16Weights;
pub use layers::QuantizableLayer;
pub use smooth::SmoothActivations;

use crate::{Edit, PassError, Tolerance};
use refit_graph::{Graph, HostTensor, Model, Node, OpName, Patch, ValueId};
use std::collections::{BTreeSet, HashMap};

/// Products of fewer inputs or outputs stay in float32, heads of few labels among them: quantizing their activations
/// costs more than it saves.
const SMALLEST_SIDE: usize = 16;

/// Embedding tables with fewer rows stay in float32: there is nothing to save.
const SMALLEST_TABLE: usize = 1024;

/// How a product is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowsForm {
    /// In operators of the standard.
    #[default]
    Standard,
    /// With an operator of ONNX Runtime's own that applies the scales of the columns while it multiplies: the same
    /// bits, in one pass over the result instead of three.
    OnnxRuntime,
}

/// Turns the matrix products and large embedding tables of a lowered model ([`crate::lower::portable`])
/// into int8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuantizeInt8Rows {
    /// Names of the weights whose layers stay in float32.
    pub keep: BTreeSet<String>,
    /// How products are written.
    pub form: RowsForm,
}

impl QuantizeInt8Rows {
    /// The layers that it takes to int8 when none is kept, in the order of the graph.
    pub fn layers(model: &Model) -> Vec<QuantizableLayer> {
        let graph = &model.graph;
        let weight = |node| product_weight(graph, node).or_else(|| embedding_table(graph, node));
        layers::of_weights(graph, graph.nodes().filter_map(|(_, node)| weight(node)))
    }

    fn takes(&self, graph: &Graph, weight: ValueId) -> bool {
        !self.keep.contains(&graph.value(weight).name)
    }
}

impl Edit for QuantizeInt8Rows {
    fn name(&self) -> &'static str {
        "quantize-int8-rows"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Measured
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        lowered_only(graph)?;
        let mut patch = Patch::new(graph);
        let mut products = rows::Products::new(&mut patch, self.form);
        let mut count = 0;
        for (_, node) in graph.nodes() {
            if let Some(weight) = product_weight(graph, node).filter(|weight| self.takes(graph, *weight)) {
                products.quantize(&mut patch, graph, node, weight)?;
                count += 1;
            }
        }
        let mut tables = HashMap::new();
        for (_, node) in graph.nodes() {
            if let Some(table) = embedding_table(graph, node).filter(|table| self.takes(graph, *table)) {
                embedding::quantize(&mut patch, graph, node, table, &mut tables)?;
                count += 1;
            }
        }
        if count == 0 {
            return Err(PassError::refused(
                "the model has no matrix product by a constant weight to quantize",
            ));
        }
        sums::in_order(&mut patch, graph);
        Ok(patch)
    }
}

/// Refuses what has operators of refit's own.
fn lowered_only(graph: &Graph) -> Result<(), PassError> {
    match graph.nodes().find(|(_, node)| node.op.domain == refit_graph::REFIT_DOMAIN) {
        None => Ok(()),
        Some((_, node)) => {
            let op = &node.op;
            Err(PassError::refused(format!("int8 is for lowered models; this one still has {op}")))
        }
    }
}

/// The constant 2-D weight of a matrix product that is worth quantizing.
fn product_weight(graph: &Graph, node: &Node) -> Option<ValueId> {
    let weight = node.input(1).filter(|_| node.op.is("MatMul"))?;
    let tensor = &graph.initializer(weight)?.tensor;
    (is_worth_it(tensor.shape()) && tensor.dtype().is_float()).then_some(weight)
}

fn is_worth_it(shape: &[usize]) -> bool {
    matches!(shape, [inputs, outputs] if inputs.min(outputs) >= &SMALLEST_SIDE)
}

/// The table of an embedding that is worth quantizing.
fn embedding_table(graph: &Graph, node: &Node) -> Option<ValueId> {
    let table = node.input(0).filter(|_| node.op.is("Gather") && node.int("axis").unwrap_or(0) == 0)?;
    let tensor = &graph.initializer(table)?.tensor;
    let fits = matches!(tensor.shape(), [rows, _] if *rows >= SMALLEST_TABLE) && tensor.dtype().is_float();
    fits.then_some(table)
}

/// The elements of a constant as float32; an error if they are not finite.
fn finite(graph: &Graph, id: ValueId) -> Result<(Vec<f32>, [usize; 2]), PassError> {
    let name = &graph.value(id).name;
    let tensor = graph.initializer(id).map(|initializer| &initializer.tensor);
    let shape = tensor.and_then(|tensor| <[usize; 2]>::try_from(tensor.shape()).ok());
    match (tensor.and_then(HostTensor::to_f32), shape) {
        (Some(values), Some(shape)) if values.iter().all(|value| value.is_finite()) => Ok((values, shape)),
        _ => Err(PassError::refused(format!(
            "\"{name}\" holds values that are not finite: the training diverged"
        ))),
    }
}

/// The scale at which the largest magnitude becomes 127; 1 for nothing but zeros.
fn scale_of(largest: f32) -> f32 {
    if largest > 0.0 { largest / 127.0 } else { 1.0 }
}

fn to_int8(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8
}

fn standard(patch: &mut Patch, op: &str, name: &str, inputs: &[ValueId]) -> ValueId {
    patch.node(OpName::standard(op), name, inputs, [])
}
