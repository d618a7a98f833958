//! ```text
//! Q = by head(q), K = by head(k), V = by head(v)                }
//! P = Softmax(Add(Div(MatMul(Q, K^T), sqrt D), mask))           }  ->  refit.Attention(q, k, v, mask;
//! y = Reshape(Transpose(MatMul(P, V)), [batch, sequence, H D])  }                      num_heads, scale)
//!
//! by head(x) = Transpose(Reshape(x, [batch, sequence, H, D]), [0, 2, 1, 3])
//! ```
//! The scale may be a division or a product, on the scores or on queries and keys, as PyTorch's scaled
//! dot product is exported. The mask may be absent.

use super::heads::{Heads, merge_heads, split_heads};
use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{Attribute, Model, Node, OpName, Patch, ValueId};

/// Recognises multi-head attention.
#[derive(Debug, Clone, Copy)]
pub struct RecogniseAttention;

impl Simplify for RecogniseAttention {
    fn name(&self) -> &'static str {
        "recognise-attention"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes() {
            let Some(found) = attention(&rewrite, node) else { continue };
            let Some(y) = node.output(0) else { continue };
            let inputs: Vec<ValueId> = found.qkv.into_iter().chain(found.mask).collect();
            let attributes =
                [("num_heads", Attribute::Int(found.heads as i64)), ("scale", Attribute::Float(found.scale))];
            let new = rewrite.node(OpName::refit("Attention"), &node.name, &inputs, attributes);
            rewrite.replace(y, new);
        }
        Ok(rewrite.finish())
    }
}

struct Found {
    qkv: [ValueId; 3],
    mask: Option<ValueId>,
    heads: usize,
    scale: f32,
}

/// Scores before the softmax, taken apart.
struct Scores {
    query: Heads,
    key: Heads,
    mask: Option<ValueId>,
    scale: f32,
}

fn attention(rewrite: &Rewrite, node: &Node) -> Option<Found> {
    if !node.op.is("Reshape") {
        return None;
    }
    let by_position = node.input(0)?;
    let mixed = transposed(rewrite, by_position, &[0, 2, 1, 3])?;
    let product = rewrite.made_by(mixed, "MatMul")?;
    let value = split_heads(rewrite, transposed(rewrite, product.input(1)?, &[0, 2, 1, 3])?)?;
    let softmax = rewrite.made_by(without_dropout(rewrite, product.input(0)?), "Softmax")?;
    let scores_value = softmax.input(0)?;
    let default_axis = if rewrite.model.opset() < 13 { 1 } else { -1 };
    let axis = softmax.int("axis").unwrap_or(default_axis);
    if axis != -1 && axis != 3 {
        return None;
    }
    let scores = scores(rewrite, scores_value)?;
    let (heads, width) = (value.heads, value.width);
    let same = |other: &Heads| other.heads == heads && other.width == width;
    if !same(&scores.query) || !same(&scores.key) {
        return None;
    }
    merge_heads(rewrite, node, heads * width)?;
    let qkv = [scores.query.source, scores.key.source, value.source];
    Some(Found { qkv, mask: scores.mask, heads, scale: scores.scale })
}

fn scores(rewrite: &Rewrite, value: ValueId) -> Option<Scores> {
    if let Some(scores) = scaled_product(rewrite, value) {
        return Some(scores);
    }
    rewrite.either_order(value, "Add").into_iter().find_map(|(product, mask)| {
        let fits = rewrite.rank(mask).is_some_and(|rank| rank <= 4);
        let scores = scaled_product(rewrite, product)?;
        fits.then_some(Scores { mask: Some(mask), ..scores })
    })
}

fn scaled_product(rewrite: &Rewrite, value: ValueId) -> Option<Scores> {
    let (product, outer) = without_scale(rewrite, value);
    let product = rewrite.made_by(product, "MatMul")?;
    let (query, by_query) = query(rewrite, product.input(0)?)?;
    let (key, by_key) = key(rewrite, product.input(1)?)?;
    Some(Scores { query, key, mask: None, scale: outer * by_query * by_key })
}

fn query(rewrite: &Rewrite, value: ValueId) -> Option<(Heads, f32)> {
    let (value, outer) = without_scale(rewrite, value);
    let (value, inner) = without_scale(rewrite, transposed(rewrite, value, &[0, 2, 1, 3])?);
    heads_of_scaled(rewrite, value, outer * inner)
}

/// Keys with their width before their positions, by one transposition or two.
fn key(rewrite: &Rewrite, value: ValueId) -> Option<(Heads, f32)> {
    let (value, outer) = without_scale(rewrite, value);
    if let Some(split) = transposed(rewrite, value, &[0, 2, 3, 1]) {
        let (split, inner) = without_scale(rewrite, split);
        return heads_of_scaled(rewrite, split, outer * inner);
    }
    let by_head = transposed(rewrite, value, &[0, 1, 3, 2])?;
    let (heads, inner) = query(rewrite, by_head)?;
    Some((heads, outer * inner))
}

/// The scale may also come before the split, on the hidden axis.
fn heads_of_scaled(rewrite: &Rewrite, value: ValueId, scale: f32) -> Option<(Heads, f32)> {
    let heads = split_heads(rewrite, value)?;
    let (source, inner) = without_scale(rewrite, heads.source);
    Some((Heads { source, ..heads }, scale * inner))
}

/// A value without the constant that it is multiplied with or divided by.
fn without_scale(rewrite: &Rewrite, value: ValueId) -> (ValueId, f32) {
    let division = rewrite.made_by(value, "Div").and_then(|div| {
        let divisor = rewrite.scalar(div.input(1)?).filter(|divisor| *divisor != 0.0)?;
        Some((div.input(0)?, 1.0 / divisor))
    });
    let product = || {
        let orders = rewrite.either_order(value, "Mul");
        orders.into_iter().find_map(|(x, factor)| Some((x, rewrite.scalar(factor)?)))
    };
    division.or_else(product).unwrap_or((value, 1.0))
}

fn without_dropout(rewrite: &Rewrite, value: ValueId) -> ValueId {
    let dropout = rewrite.producer(value).filter(|node| node.op.is("Dropout") || node.op.is_refit("Dropout"));
    dropout.and_then(|node| node.input(0)).unwrap_or(value)
}

fn transposed(rewrite: &Rewrite, value: ValueId, perm: &[i64]) -> Option<ValueId> {
    let node = rewrite.made_by(value, "Transpose")?;
    (node.ints("perm") == Some(perm)).then(|| node.input(0)).flatten()
}
