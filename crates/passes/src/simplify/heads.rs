//! Splitting a hidden axis into heads and joining it again, as exporters write it.

use crate::rewrite::Rewrite;
use refit_graph::{Dim, Node, ValueId};

/// A value `[batch, sequence, heads * width]` seen as `[batch, sequence, heads, width]`.
pub(super) struct Heads {
    pub(super) source: ValueId,
    pub(super) heads: usize,
    pub(super) width: usize,
}

/// One entry of a `Reshape` target.
#[derive(Debug, Clone, PartialEq)]
enum Target {
    /// Zero: as in the input.
    Copy,
    /// Minus one: what remains.
    Rest,
    Size(Dim),
}

/// `Reshape(source, [batch, sequence, heads, width])`.
pub(super) fn split_heads(rewrite: &Rewrite, value: ValueId) -> Option<Heads> {
    let node = rewrite.made_by(value, "Reshape")?;
    let source = node.input(0)?;
    let [batch, sequence, hidden] = rewrite.shape(source)? else { return None };
    let hidden = hidden.known()?;
    let target = target(rewrite, node)?;
    let [first, second, heads, width] = target.as_slice() else { return None };
    let rest = target.iter().filter(|entry| **entry == Target::Rest).count();
    let (heads, width) = match (known(heads), known(width)) {
        (Some(heads), Some(width)) => (heads, width),
        (Some(heads), None) if *width == Target::Rest && heads > 0 => (heads, hidden / heads),
        (None, Some(width)) if *heads == Target::Rest && width > 0 => (hidden / width, width),
        _ => return None,
    };
    let fits = rest <= 1
        && heads * width == hidden
        && keeps(first, batch)
        && (keeps(second, sequence) || *second == Target::Rest);
    // A batch that is inferred is the old one if all else is.
    let inferred = *first == Target::Rest && keeps(second, sequence) && rest == 1 && heads * width == hidden;
    (fits || inferred).then_some(Heads { source, heads, width })
}

/// `Reshape(source, [batch, sequence, hidden])` of a `[batch, sequence, heads, width]` source.
pub(super) fn merge_heads(rewrite: &Rewrite, node: &Node, hidden: usize) -> Option<ValueId> {
    let source = node.op.is("Reshape").then(|| node.input(0)).flatten()?;
    let target = target(rewrite, node)?;
    let [first, second, last] = target.as_slice() else { return None };
    let shape = rewrite.shape(source);
    let dim = |axis: usize| shape.and_then(|shape| shape.get(axis)).cloned().unwrap_or(Dim::Unknown);
    let keeps = |entry, axis| keeps(entry, &dim(axis));
    let rest = target.iter().filter(|entry| **entry == Target::Rest).count();
    let last_fits = known(last) == Some(hidden) || *last == Target::Rest;
    let fits = rest <= 1
        && last_fits
        && (keeps(first, 0) || *first == Target::Rest)
        && (keeps(second, 1) || *second == Target::Rest);
    fits.then_some(source)
}

fn known(entry: &Target) -> Option<usize> {
    match entry {
        Target::Size(dim) => dim.known(),
        _ => None,
    }
}

fn keeps(entry: &Target, dim: &Dim) -> bool {
    match entry {
        Target::Copy => true,
        Target::Rest => false,
        Target::Size(size) => size == dim && *size != Dim::Unknown,
    }
}

/// What a `Reshape` is told, also where it is put together at run time.
fn target(rewrite: &Rewrite, node: &Node) -> Option<Vec<Target>> {
    if node.int("allowzero").unwrap_or(0) != 0 {
        return None;
    }
    entries(rewrite, node.input(1)?)
}

fn entries(rewrite: &Rewrite, value: ValueId) -> Option<Vec<Target>> {
    if let Some(constant) = rewrite.constant(value) {
        let entry = |size: i64| match size {
            0 => Some(Target::Copy),
            -1 => Some(Target::Rest),
            size => usize::try_from(size).ok().map(|size| Target::Size(Dim::Known(size))),
        };
        return constant.to_i64()?.into_iter().map(entry).collect();
    }
    let elements = rewrite.graph().fact(value).elements.as_ref();
    let concat = rewrite.made_by(value, "Concat");
    // Minus one is no size: where the parts can be looked at, they say more.
    let is_known = elements.is_some_and(|elements| !elements.contains(&Dim::Unknown));
    if let Some(elements) = elements.filter(|_| is_known || concat.is_none()) {
        return Some(elements.iter().cloned().map(Target::Size).collect());
    }
    let concat = concat?;
    let mut all = Vec::new();
    for input in concat.inputs.iter().flatten() {
        all.extend(entries(rewrite, *input)?);
    }
    Some(all)
}
