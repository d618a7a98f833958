//! ```text
//! x1 = Slice(x; first half of the last axis); x2 = Slice(x; second half)      } ->  refit.Rotary(x, cos, sin)
//! Add(Mul(x, cos), Mul(Concat(Neg(x2), x1), sin))                             }
//! ```
//! The halves may come from one `Split`. `cos` and `sin` are as wide as `x` and no larger than it otherwise.

use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{Dim, Model, Node, OpName, Patch, ValueId};

/// Recognises rotary position embedding as Hugging Face's models have it (`rotate_half`).
#[derive(Debug, Clone, Copy)]
pub struct RecogniseRotary;

impl Simplify for RecogniseRotary {
    fn name(&self) -> &'static str {
        "recognise-rotary"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes() {
            let Some([x, cos, sin]) = sum(&rewrite, node) else { continue };
            let Some(y) = node.output(0) else { continue };
            let new = rewrite.node(OpName::refit("Rotary"), &node.name, &[x, cos, sin], []);
            rewrite.replace(y, new);
        }
        Ok(rewrite.finish())
    }
}

/// The sum of `x * cos` and `swapped * sin`: x, cos and sin.
fn sum(rewrite: &Rewrite, node: &Node) -> Option<[ValueId; 3]> {
    rewrite.either_order(node.output(0)?, "Add").into_iter().find_map(|(plain, turned)| {
        rewrite.either_order(turned, "Mul").into_iter().find_map(|(swapped, sin)| {
            let x = swapped_of(rewrite, swapped)?;
            let factors = rewrite.either_order(plain, "Mul");
            let cos = factors.into_iter().find_map(|(a, b)| (a == x).then_some(b))?;
            let fits = is_table(rewrite, cos, x) && is_table(rewrite, sin, x);
            fits.then_some([x, cos, sin])
        })
    })
}

/// Whether a table is as wide as `x` and is only repeated against its other dimensions.
fn is_table(rewrite: &Rewrite, table: ValueId, x: ValueId) -> bool {
    let (Some(table), Some(x)) = (rewrite.shape(table), rewrite.shape(x)) else { return false };
    let fits = |(table, x): (&Dim, &Dim)| match (table, x) {
        (Dim::Known(1), _) => true,
        (Dim::Unknown, _) | (_, Dim::Unknown) => false,
        (table, x) => table == x,
    };
    table.len() <= x.len() && table.last() == x.last() && table.iter().rev().zip(x.iter().rev()).all(fits)
}

/// `Concat(Neg(second half), first half)`: x.
fn swapped_of(rewrite: &Rewrite, value: ValueId) -> Option<ValueId> {
    let concat = rewrite.made_by(value, "Concat")?;
    let [Some(negative), Some(first)] = concat.inputs.as_slice() else { return None };
    let second = rewrite.made_by(*negative, "Neg")?.input(0)?;
    let (x, 0) = half_of(rewrite, *first)? else { return None };
    let last = rewrite.is_last_axis(concat.int("axis")?, x);
    (last && half_of(rewrite, second)? == (x, 1)).then_some(x)
}

/// A value that is one half of the last axis of another: that one, and which half.
fn half_of(rewrite: &Rewrite, value: ValueId) -> Option<(ValueId, usize)> {
    let node = rewrite.producer(value)?;
    let x = node.input(0)?;
    let width = rewrite.shape(x)?.last()?.known().filter(|width| width.is_multiple_of(2))?;
    let half = (width / 2) as i64;
    if node.op.is("Split") {
        let axis = node.int("axis").unwrap_or(0);
        let known = |id: &ValueId| rewrite.shape(*id).and_then(|dims| dims.last()).and_then(Dim::known);
        let equal = node.outputs.iter().flatten().all(|output| known(output) == Some(width / 2));
        let index = node.outputs.iter().position(|output| *output == Some(value))?;
        return (node.outputs.len() == 2 && equal && rewrite.is_last_axis(axis, x)).then_some((x, index));
    }
    let number = |index: usize| match rewrite.constant(node.input(index)?)?.to_i64()?.as_slice() {
        [number] => Some(*number),
        _ => None,
    };
    if !node.op.is("Slice") || !rewrite.is_last_axis(number(3)?, x) {
        return None;
    }
    if node.input(4).is_some() && number(4) != Some(1) {
        return None;
    }
    match (number(1)?, number(2)?) {
        (0, end) if end == half || end == -half => Some((x, 0)),
        (start, end) if (start == half || start == -half) && end >= 2 * half => Some((x, 1)),
        _ => None,
    }
}
