//! Moves the outliers of activations into weights, where a scale for each channel takes them (SmoothQuant, Xiao et al.
//! 2022, arXiv:2211.10438).
//!
//! ```text
//! x -> MatMul(W[K,N]) -> y    =>   x -> Mul(1 / s[K]) -> MatMul(diag(s) W) -> y
//! s_k = max|x_k|^alpha / max|W_k|^(1 - alpha)
//! ```
//!
//! A channel of x whose values are a hundred times those of the others takes all the steps of an integer. Where a
//! LayerNormalization makes x for these products alone, its scale and bias are divided by s instead, and nothing is
//! added to the graph.

use super::{finite, lowered_only, product_weight};
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Graph, HostTensor, Model, Node, NodeId, OpName, Patch, ValueId};
use std::collections::BTreeMap;

/// Largest difference that rescaling may make: one more rounding of each factor.
const ROUNDING: f32 = 1e-3;
/// Scales are not let nearer to zero.
const SMALLEST: f32 = 1e-5;

/// Rescales the inputs of matrix products of a lowered model ([`crate::lower::portable`]). What it computes stays the
/// same but for rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct SmoothActivations {
    /// The largest magnitude of each channel (of the last axis) of an activation, by its name; others stay as they are.
    pub maxima: BTreeMap<String, Vec<f32>>,
    /// How much of an outlier the weights take: 0 nothing, 1 all, 0.5 as in the paper.
    pub alpha: f32,
}

impl Edit for SmoothActivations {
    fn name(&self) -> &'static str {
        "smooth-activations"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Rounding(ROUNDING)
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        lowered_only(graph)?;
        let (consumers, producers) = (graph.consumers(), graph.producers());
        let mut patch = Patch::new(graph);
        for (name, maxima) in &self.maxima {
            let Some(x) = graph.find(name) else { continue };
            let readers = products(graph, &consumers, x);
            let Some(scales) = self.scales(graph, maxima, &readers)? else { continue };
            let norm = producers[x.index()].map(|id| graph.node(id));
            let norm = norm.filter(|node| {
                node.op.is("LayerNormalization") && consumers[x.index()].len() == readers.len()
            });
            let folded = norm.and_then(|node| fold(&mut patch, graph, &consumers, node, &scales));
            let smooth = match folded {
                Some(()) => None,
                None => Some(divide(&mut patch, name, x, &scales)),
            };
            for (reader, weight) in readers {
                rescale(&mut patch, graph, graph.node(reader), weight, smooth, &scales)?;
            }
        }
        Ok(patch)
    }
}

impl SmoothActivations {
    /// One scale a channel; `None` where the products do not fit the maxima.
    fn scales(
        &self,
        graph: &Graph,
        maxima: &[f32],
        readers: &[(NodeId, ValueId)],
    ) -> Result<Option<Vec<f32>>, PassError> {
        let mut of_weights = vec![0f32; maxima.len()];
        for (_, weight) in readers {
            let (values, [inputs, outputs]) = finite(graph, *weight)?;
            if inputs != maxima.len() {
                return Ok(None);
            }
            for (largest, row) in of_weights.iter_mut().zip(values.chunks_exact(outputs.max(1))) {
                *largest = row.iter().fold(*largest, |most, value| most.max(value.abs()));
            }
        }
        let scale = |(x, w): (&f32, &f32)| {
            (x.max(SMALLEST).powf(self.alpha) / w.max(SMALLEST).powf(1.0 - self.alpha)).max(SMALLEST)
        };
        let scales: Vec<f32> = maxima.iter().zip(&of_weights).map(scale).collect();
        Ok((!readers.is_empty() && scales.iter().all(|scale| scale.is_finite())).then_some(scales))
    }
}

/// The matrix products by constant weights of their own that read `x`.
fn products(graph: &Graph, consumers: &[Vec<NodeId>], x: ValueId) -> Vec<(NodeId, ValueId)> {
    let product = |id: &NodeId| {
        let node = graph.node(*id);
        let weight = product_weight(graph, node).filter(|weight| consumers[weight.index()].len() == 1)?;
        (node.input(0) == Some(x)).then_some((*id, weight))
    };
    consumers[x.index()].iter().filter_map(product).collect()
}

/// Divides the scale and bias of the norm that makes `x`, if they are constants of its own.
fn fold(
    patch: &mut Patch,
    graph: &Graph,
    consumers: &[Vec<NodeId>],
    node: &Node,
    scales: &[f32],
) -> Option<()> {
    let own = |index: usize| {
        let id = node.input(index).filter(|id| consumers[id.index()].len() == 1)?;
        let values = graph.initializer(id)?.tensor.to_f32()?;
        (values.len() == scales.len()).then_some((id, values))
    };
    let parts: Vec<(ValueId, Vec<f32>)> = (1..node.inputs.len())
        .filter(|index| node.input(*index).is_some())
        .map(own)
        .collect::<Option<_>>()?;
    for (id, values) in parts {
        let divided: Vec<f32> = values.iter().zip(scales).map(|(value, scale)| value / scale).collect();
        replace(patch, graph, id, &divided);
    }
    Some(())
}

/// `x` divided by the scales.
fn divide(patch: &mut Patch, name: &str, x: ValueId, scales: &[f32]) -> ValueId {
    let inverse: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
    let inverse = HostTensor::from_f32(&[inverse.len()], &inverse);
    let inverse = patch.initializer(&format!("{name}.smoothing"), inverse, false);
    patch.node(OpName::standard("Mul"), &format!("{name}.smooth"), &[x, inverse], [])
}

/// The product of `smooth`, or of what it read before, by a weight whose rows are multiplied by the scales.
fn rescale(
    patch: &mut Patch,
    graph: &Graph,
    node: &Node,
    weight: ValueId,
    smooth: Option<ValueId>,
    scales: &[f32],
) -> Result<(), PassError> {
    let (values, [_, outputs]) = finite(graph, weight)?;
    let rows = values.chunks_exact(outputs.max(1)).zip(scales);
    let values: Vec<f32> = rows.flat_map(|(row, scale)| row.iter().map(move |value| value * scale)).collect();
    let scaled = replace(patch, graph, weight, &values);
    if let (Some(smooth), Some(y)) = (smooth, node.output(0)) {
        let name = format!("{}.smooth", graph.value(y).name);
        let product = patch.node(OpName::standard("MatMul"), &name, &[smooth, scaled], []);
        patch.replace(y, product);
    }
    Ok(())
}

/// Other values for a constant, under its name.
fn replace(patch: &mut Patch, graph: &Graph, id: ValueId, values: &[f32]) -> ValueId {
    let name = &graph.value(id).name;
    let shape = graph.initializer(id).map_or(&[][..], |initializer| initializer.tensor.shape());
    let new = patch.initializer(name, HostTensor::from_f32(shape, values), false);
    patch.replace(id, new);
    patch.rename(new, name);
    new
}
