//! ```text
//! refit.Attention(q, k, v, mask, bias)  ->
//!     Q   = Transpose(Reshape(q, [0, 0, H, D]), [0, 2, 1, 3])
//!     K^T = Transpose(Reshape(k, [0, 0, H, D]), [0, 2, 3, 1])
//!     V   = Transpose(Reshape(v, [0, 0, H, D]), [0, 2, 1, 3])
//!     P   = Softmax(Add(Add(Mul(MatMul(Q, K^T), scale), bias), mask))
//!     y   = Reshape(Transpose(MatMul(P, V), [0, 2, 1, 3]), [0, 0, H * D])
//! ```
//! Zeros in a `Reshape` copy batch and sequence, so both stay symbolic.

use crate::rewrite::Rewrite;
use refit_graph::{Attribute, HostTensor, Node, OpName, ValueId};

pub(super) fn lower(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let heads = node.int("num_heads").filter(|heads| *heads > 0)?;
    let hidden = (0..3).find_map(|index| rewrite.shape(node.input(index)?)?.last()?.known())? as i64;
    let width = hidden / heads;
    let scale = node.float("scale").unwrap_or_else(|| 1.0 / (width as f32).sqrt());
    let name = |part: &str| format!("{}.{part}", node.name);
    let split =
        rewrite.patch.initializer(&name("split"), HostTensor::from_i64(&[4], &[0, 0, heads, width]), false);
    let merge = rewrite.patch.initializer(&name("merge"), HostTensor::from_i64(&[3], &[0, 0, hidden]), false);
    let scale = rewrite.patch.initializer(&name("scale"), HostTensor::from_f32(&[], &[scale]), false);

    let mut by_head = |index: usize, part: &str, perm: &[i64]| {
        let x = node.input(index)?;
        let x = rewrite.node(OpName::standard("Reshape"), &name(&format!("{part}_split")), &[x, split], []);
        Some(transpose(rewrite, &name(part), x, perm))
    };
    let query = by_head(0, "query", &[0, 2, 1, 3])?;
    let key = by_head(1, "key", &[0, 2, 3, 1])?;
    let value = by_head(2, "value", &[0, 2, 1, 3])?;
    let mut scores = rewrite.node(OpName::standard("MatMul"), &name("scores"), &[query, key], []);
    scores = rewrite.node(OpName::standard("Mul"), &name("scaled"), &[scores, scale], []);
    for (index, part) in [(4, "biased"), (3, "masked")] {
        if let Some(added) = node.input(index) {
            scores = rewrite.node(OpName::standard("Add"), &name(part), &[scores, added], []);
        }
    }
    let last = Attribute::Int(-1);
    let weights = rewrite.node(OpName::standard("Softmax"), &name("weights"), &[scores], [("axis", last)]);
    let mixed = rewrite.node(OpName::standard("MatMul"), &name("mixed"), &[weights, value], []);
    let mixed = transpose(rewrite, &name("by_position"), mixed, &[0, 2, 1, 3]);
    let y = rewrite.node(OpName::standard("Reshape"), &node.name, &[mixed, merge], []);
    rewrite.replace(node.output(0)?, y);
    Some(())
}

fn transpose(rewrite: &mut Rewrite, name: &str, x: ValueId, perm: &[i64]) -> ValueId {
    let perm = Attribute::Ints(perm.to_vec());
    rewrite.node(OpName::standard("Transpose"), name, &[x], [("perm", perm)])
}
