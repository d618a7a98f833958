//! Weights in float16, half as large in the file; computed with in float32.
//!
//! ```text
//! x -> MatMul(W f32) -> y      =>   x -> MatMul(Cast(W f16)) -> y
//! ids -> Gather(table f32)     =>   Cast(Gather(table f16, ids))
//! ```
//!
//! Engines fold the casts of weights when they load the file, so that a float16 file is as fast as one in float32.

use super::{QuantizableLayer, layers, lowered_only};
use crate::{Edit, PassError, Tolerance};
use bytes::Bytes;
use half::f16;
use refit_graph::{Attribute, DType, Graph, HostTensor, Model, Node, OpName, Patch, ValueId};
use std::collections::BTreeSet;

/// Smaller constants stay as they are: biases and norms are no part of a file's size.
const SMALLEST_WEIGHT: usize = 1024;

/// Stores the weights of a lowered model ([`crate::lower::portable`]) in float16.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Float16Weights {
    /// Names of the weights that stay in float32.
    pub keep: BTreeSet<String>,
}

impl Float16Weights {
    /// The layers that it takes to float16 when none is kept, in the order of the graph.
    pub fn layers(model: &Model) -> Vec<QuantizableLayer> {
        let graph = &model.graph;
        layers::of_weights(graph, graph.nodes().filter_map(|(_, node)| weight(graph, node)))
    }
}

impl Edit for Float16Weights {
    fn name(&self) -> &'static str {
        "float16-weights"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Measured
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        lowered_only(graph)?;
        let mut patch = Patch::new(graph);
        let mut done = BTreeSet::new();
        for (_, node) in graph.nodes() {
            let Some(id) = weight(graph, node) else { continue };
            let name = &graph.value(id).name;
            if self.keep.contains(name) || !done.insert(id) {
                continue;
            }
            // What float16 cannot hold stays in float32.
            let Some(halves) = graph.initializer(id).and_then(|found| halves(&found.tensor)) else {
                continue;
            };
            let halves = patch.initializer(&format!("{name}.float16"), halves, false);
            let to = || [("to", Attribute::Int(DType::F32.to_onnx().into()))];
            let readers = graph.consumers()[id.index()].clone();
            let gathers = readers.iter().all(|reader| is_gather(graph.node(*reader)));
            if !gathers {
                let wide = patch.node(OpName::standard("Cast"), &format!("{name}.float32"), &[halves], to());
                patch.replace(id, wide);
                continue;
            }
            // Rows are widened after they were picked: the table stays small in memory too.
            for reader in readers {
                let gather = graph.node(reader);
                let (Some(ids), Some(y)) = (gather.input(1), gather.output(0)) else { continue };
                let named = &graph.value(y).name;
                let along = gather.attributes.get("axis").cloned().map(|axis| ("axis", axis));
                let inputs = [halves, ids];
                let rows =
                    patch.node(OpName::standard("Gather"), &format!("{named}.float16"), &inputs, along);
                let wide = patch.node(OpName::standard("Cast"), &format!("{named}.float32"), &[rows], to());
                patch.replace(y, wide);
            }
        }
        if done.is_empty() {
            return Err(PassError::refused("the model has no weights to store in float16"));
        }
        Ok(patch)
    }
}

fn is_gather(node: &Node) -> bool {
    node.op.is("Gather")
}

/// The large constant that a node reads as its weight.
fn weight(graph: &Graph, node: &Node) -> Option<ValueId> {
    let place = match node.op.name.as_str() {
        _ if !node.op.domain.is_empty() => return None,
        "Gather" => 0,
        "MatMul" | "Gemm" | "Conv" | "ConvTranspose" => 1,
        _ => return None,
    };
    let weight = node.input(place)?;
    let tensor = &graph.initializer(weight)?.tensor;
    let fits = matches!(tensor.dtype(), DType::F32 | DType::F64) && tensor.len() >= SMALLEST_WEIGHT;
    (fits && !graph.outputs().contains(&weight)).then_some(weight)
}

/// The elements in float16; `None` if one of them is beyond its range, or no number.
fn halves(tensor: &HostTensor) -> Option<HostTensor> {
    let values = tensor.to_f32()?;
    let halves: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
    if !halves.iter().all(|half| half.is_finite()) {
        return None;
    }
    let data: Vec<u8> = halves.into_iter().flat_map(f16::to_le_bytes).collect();
    HostTensor::from_bytes(DType::F16, tensor.shape().to_vec(), Bytes::from(data)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_float16_cannot_hold_is_left() {
        assert!(halves(&HostTensor::from_f32(&[2], &[1.5, -65504.0])).is_some());
        assert!(halves(&HostTensor::from_f32(&[2], &[1.5, 70000.0])).is_none());
        assert!(halves(&HostTensor::from_f32(&[1], &[f32::NAN])).is_none());
    }
}
