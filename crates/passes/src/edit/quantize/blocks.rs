//! Weights of matrix products in 4 bits, a scale for each block of them.
//!
//! ```text
//! x -> MatMul(W[K,N]) -> y
//! =>  x -> com.microsoft.MatMulNBits(W u4 [N, K / 32, 16 bytes], scales [N * K / 32]) -> y
//!
//! ids -> Gather(table[V,H])  =>  Mul(Cast(Gather(table s8, ids)), Gather(scale[V,1], ids))
//! ```
//!
//! MatMulNBits is ONNX Runtime's own, so the file is for it alone. The standard has blocks too (DequantizeLinear on int4
//! from opset 21 on), which tract does not load. A weight is scale * (u4 - 8); the value of a block with the largest
//! magnitude is -8 steps, so that it is exact and all sixteen steps are used.

use super::{
    QuantizableLayer, QuantizeInt8Rows, embedding, embedding_table, finite, lowered_only, product_weight,
    rows,
};
use crate::{Edit, PassError, Tolerance};
use bytes::Bytes;
use refit_graph::{Attribute, DType, Graph, HostTensor, Model, Node, OpName, Patch, ValueId};
use std::collections::{BTreeSet, HashMap};

/// Rows of a weight that share a scale.
const BLOCK: usize = 32;
/// Activations are taken to int8 for the product, which is what makes it fast.
const ACCURACY_LEVEL: i64 = 4;
/// The step that stands for 0.
const MIDDLE: f32 = 8.0;

/// Turns the weights of matrix products of a lowered model ([`crate::lower::portable`]) into 4 bits, and large
/// embedding tables into int8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuantizeInt4Blocks {
    /// Names of the weights whose layers stay in float32.
    pub keep: BTreeSet<String>,
}

impl QuantizeInt4Blocks {
    /// The layers that it changes when none is kept, in the order of the graph: those of int8 with a scale per row.
    pub fn layers(model: &Model) -> Vec<QuantizableLayer> {
        QuantizeInt8Rows::layers(model)
    }
}

impl Edit for QuantizeInt4Blocks {
    fn name(&self) -> &'static str {
        "quantize-int4-blocks"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Measured
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        lowered_only(graph)?;
        let mut patch = Patch::new(graph);
        let (mut packed, mut tables) = (HashMap::new(), HashMap::new());
        let takes = |id: &ValueId| !self.keep.contains(&graph.value(*id).name);
        for (_, node) in graph.nodes() {
            if let Some(weight) = product_weight(graph, node).filter(takes) {
                product(&mut patch, graph, node, weight, &mut packed)?;
            } else if let Some(table) = embedding_table(graph, node).filter(takes) {
                embedding::quantize(&mut patch, graph, node, table, &mut tables)?;
            }
        }
        if packed.is_empty() && tables.is_empty() {
            return Err(PassError::refused(
                "the model has no matrix product by a constant weight to quantize",
            ));
        }
        Ok(patch)
    }
}

/// Weight -> its packed form and the scales of its blocks.
type Packed = HashMap<ValueId, (ValueId, ValueId, [usize; 2])>;

fn product(
    patch: &mut Patch,
    graph: &Graph,
    node: &Node,
    weight: ValueId,
    packed: &mut Packed,
) -> Result<(), PassError> {
    let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
        return Err(PassError::refused("a matrix product lacks its input or output"));
    };
    let (blocks, scales, [inputs, outputs]) = match packed.get(&weight) {
        Some(done) => *done,
        None => {
            let (values, shape) = finite(graph, weight)?;
            let name = &graph.value(weight).name;
            let (blocks, scales) = pack(&values, shape)?;
            let blocks = patch.initializer(&format!("{name}.int4"), blocks, false);
            let scales = patch.initializer(&format!("{name}.scale"), scales, false);
            *packed.entry(weight).or_insert((blocks, scales, shape))
        }
    };
    let op = OpName { domain: rows::ONNX_RUNTIME.to_owned(), name: "MatMulNBits".to_owned() };
    let attributes = [
        ("K", inputs as i64),
        ("N", outputs as i64),
        ("bits", 4),
        ("block_size", BLOCK as i64),
        ("accuracy_level", ACCURACY_LEVEL),
    ];
    let name = format!("{}.int4", graph.value(y).name);
    let attributes = attributes.map(|(name, value)| (name, Attribute::Int(value)));
    let result = patch.node(op, &name, &[x, blocks, scales], attributes);
    patch.replace(y, result);
    Ok(())
}

/// A weight `[K, N]` as bytes `[N, blocks, 16]`, two rows a byte, the lower first, and the scales `[N * blocks]`.
fn pack(values: &[f32], [inputs, outputs]: [usize; 2]) -> Result<(HostTensor, HostTensor), PassError> {
    let blocks = inputs.div_ceil(BLOCK);
    let mut bytes = vec![0u8; outputs * blocks * BLOCK / 2];
    let mut scales = Vec::with_capacity(outputs * blocks);
    for column in 0..outputs {
        for block in 0..blocks {
            let rows = block * BLOCK..((block + 1) * BLOCK).min(inputs);
            let of_row = |row: usize| values[row * outputs + column];
            let largest = rows
                .clone()
                .map(of_row)
                .fold(0f32, |most, value| if value.abs() > most.abs() { value } else { most });
            let scale = if largest == 0.0 { 1.0 } else { largest / -MIDDLE };
            scales.push(scale);
            let first = (column * blocks + block) * BLOCK / 2;
            for (place, row) in rows.enumerate() {
                let step = (of_row(row) / scale + MIDDLE).round_ties_even().clamp(0.0, 15.0) as u8;
                bytes[first + place / 2] |= step << (4 * (place % 2));
            }
        }
    }
    let shape = vec![outputs, blocks, BLOCK / 2];
    let bytes = HostTensor::from_bytes(DType::U8, shape, Bytes::from(bytes))?;
    Ok((bytes, HostTensor::from_f32(&[outputs * blocks], &scales)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_of_a_block_is_exact_and_the_lower_half_comes_first() {
        // One column of 33 rows: a block of 32 and one of a single row.
        let mut values = vec![0f32; 33];
        (values[0], values[1], values[32]) = (4.0, -2.0, -3.0);
        let (bytes, scales) = pack(&values, [33, 1]).unwrap();
        assert_eq!(scales.to_f32().unwrap(), [-0.5, 0.375]);
        // 4 is -8 steps of -0.5: 0; -2 is 4 steps: 12.
        assert_eq!(bytes.bytes()[0], 0xc0);
        assert_eq!(bytes.bytes()[1], 0x88);
        assert_eq!((bytes.shape(), bytes.bytes()[16] & 15), ([1usize, 2, 16].as_slice(), 0));
    }
}
