//! Frees axes that an exporter fixed.
//!
//! ```text
//! ids [1, 128] ... Reshape(x, [1, 128, 12, 64])      =>  ids [batch, sequence] ... Reshape(x, [0, 0, 12, 64])
//! Expand(mask, [1, 1, 128, 128])                     =>  Expand(mask, [1, 1, 1, 1])
//! Add(x, constant [1, 128, 384])                     =>  Add(x, Slice(constant, 0, sequence))
//! ```
//!
//! Which axes of a value follow the input is not guessed from sizes: shapes are inferred with named axes, and a
//! target of a `Reshape` is changed where the shape before it has the name at that place.

use refit_graph::{Dim, Graph, HostTensor, Model, Node, NodeId, OpName, Patch, ValueId};
use refit_passes::{Simplify, simplify::FoldConstants};

/// Operators that fit the shapes of their inputs to each other.
const BROADCASTING: [&str; 12] =
    ["Add", "Sub", "Mul", "Div", "Pow", "Where", "And", "Or", "Equal", "Less", "Greater", "GreaterOrEqual"];

/// Frees the axes of a model whose inputs were `[batch, sequence]` and have named axes already.
pub(super) fn loosen(model: &mut Model, [batch, sequence]: [usize; 2]) -> Result<(), String> {
    if sequence != 0 && sequence == batch {
        return Err(format!(
            "its batch and its sequence are both fixed to {batch}, so that they cannot be told apart; export it \
             again with dynamic axes [batch, sequence]"
        ));
    }
    let failed = |what: String| format!("its axes are fixed, and freeing them failed: {what}");
    let sizes = Sizes { batch, sequence };
    forget_made(&mut model.graph);
    // What shapes say is folded while they are inferred, so that one change shows the next.
    let most = model.graph.node_count();
    for _ in 0..=2 * most {
        let inferred = infer_up_to_error(model);
        // Tables that were cut for the fixed length show themselves as constants.
        if let Ok(Some(patch)) = FoldConstants.rewrite(model) {
            patch.apply(&mut model.graph).map_err(|error| failed(error.to_string()))?;
            forget_made(&mut model.graph);
            continue;
        }
        let Some(patch) = next_change(model, &sizes) else {
            return inferred.map_err(failed);
        };
        patch.apply(&mut model.graph).map_err(|error| failed(error.to_string()))?;
        forget_made(&mut model.graph);
    }
    Err(failed("it never settles".to_owned()))
}

struct Sizes {
    batch: usize,
    sequence: usize,
}

/// Facts of values as far as they can be known; the first contradiction is given.
fn infer_up_to_error(model: &mut Model) -> Result<(), String> {
    refit_ops::infer_facts(model).map_err(|error| error.to_string())
}

/// The file's own shapes are those of the fixed axes.
fn forget_made(graph: &mut Graph) {
    let made: Vec<ValueId> =
        graph.nodes().flat_map(|(_, node)| node.outputs.iter().flatten().copied()).collect();
    for id in made {
        graph.set_fact(id, Default::default());
    }
}

/// The first node that holds on to a fixed size, changed.
fn next_change(model: &Model, sizes: &Sizes) -> Option<Patch> {
    let graph = &model.graph;
    graph.nodes().find_map(|(id, node)| {
        if node.op.is("Reshape") || node.op.is("Expand") {
            return target(graph, node, sizes);
        }
        if BROADCASTING.iter().any(|op| node.op.is(op)) {
            return sliced(graph, id, node, sizes);
        }
        None
    })
}

fn is_batch(dim: &Dim) -> bool {
    *dim == Dim::from("batch")
}

fn is_sequence(dim: &Dim) -> bool {
    *dim == Dim::from("sequence")
}

/// A `Reshape` or an `Expand` whose target says a fixed size.
fn target(graph: &Graph, node: &Node, sizes: &Sizes) -> Option<Patch> {
    let (x, shape) = (node.input(0)?, node.input(1)?);
    let before = graph.fact(x).shape.as_deref()?;
    let given = elements(graph, shape)?;
    let mut changed = given.clone();
    if node.op.is("Expand") {
        let offset = given.len().checked_sub(before.len());
        for (axis, size) in changed.iter_mut().enumerate() {
            let own = offset.and_then(|offset| before.get(axis.checked_sub(offset)?));
            let follows = own.is_some_and(|dim| is_batch(dim) || is_sequence(dim));
            // What is read with it is as large: broadcasting does the same there.
            if *size != 1 && (follows || [sizes.batch, sizes.sequence].contains(&(*size as usize))) {
                *size = 1;
            }
        }
    } else {
        for (axis, size) in changed.iter_mut().enumerate() {
            let (Some(dim), false) = (before.get(axis), *size == 0) else { continue };
            let is_fixed = (is_batch(dim) && *size == sizes.batch as i64)
                || (is_sequence(dim) && *size == sizes.sequence as i64);
            if is_fixed {
                *size = 0;
            }
        }
        // [batch * heads, sequence, width] and back: the product takes what is left.
        let merged = changed.first().is_some_and(|first| {
            *first > 0
                && before.first().is_some_and(is_batch)
                && (*first as usize).is_multiple_of(sizes.batch.max(1))
        });
        if merged && given.iter().all(|size| *size > 0) {
            changed[0] = -1;
        }
    }
    if changed == given {
        return None;
    }
    let mut patch = Patch::new(graph);
    let name = format!("{}.freed", graph.value(shape).name);
    let constant = patch.initializer(&name, HostTensor::from_i64(&[changed.len()], &changed), false);
    let y = patch.node_with(node.op.clone(), &node.name, vec![Some(x), Some(constant)], 1, []);
    patch.set_attributes(node.attributes.clone());
    patch.replace(node.output(0)?, *y.first()?);
    Some(patch)
}

/// A constant as long as the fixed sequence, read with something whose axis is named.
fn sliced(graph: &Graph, _id: NodeId, node: &Node, sizes: &Sizes) -> Option<Patch> {
    let others = |index: usize| node.inputs.iter().enumerate().filter(move |(other, _)| *other != index);
    for (index, input) in node.inputs.iter().enumerate() {
        let input = (*input)?;
        let constant =
            graph.initializer(input).filter(|constant| sizes.sequence > 1 && constant.tensor.len() > 1);
        let Some(shape) = constant.map(|constant| constant.tensor.shape().to_vec()) else { continue };
        for (axis, size) in shape.iter().enumerate() {
            let from_end = shape.len() - axis;
            let named = others(index).any(|(_, other)| {
                let dims = other.and_then(|other| graph.fact(other).shape.as_deref());
                dims.and_then(|dims| dims.get(dims.len().checked_sub(from_end)?)).is_some_and(is_sequence)
            });
            if *size == sizes.sequence && named {
                return Some(slice(graph, node, index, input, axis));
            }
        }
    }
    None
}

/// The constant cut to the length of the first input.
fn slice(graph: &Graph, node: &Node, index: usize, input: ValueId, axis: usize) -> Patch {
    let mut patch = Patch::new(graph);
    let name = |what: &str| format!("{}.{what}", graph.value(input).name);
    let mut numbers =
        |what: &str, value: i64| patch.initializer(&name(what), HostTensor::from_i64(&[1], &[value]), false);
    let (one, two, zero, along) =
        (numbers("one", 1), numbers("two", 2), numbers("zero", 0), numbers("axis", axis as i64));
    let standard = OpName::standard;
    let ids = graph.inputs()[0];
    let shape = patch.node(standard("Shape"), &name("text"), &[ids], []);
    let length = patch.node(standard("Slice"), &name("length"), &[shape, one, two, zero], []);
    let cut = patch.node(standard("Slice"), &name("cut"), &[input, zero, length, along], []);
    let mut inputs = node.inputs.clone();
    inputs[index] = Some(cut);
    let outputs = patch.node_with(node.op.clone(), &node.name, inputs, node.outputs.len(), []);
    patch.set_attributes(node.attributes.clone());
    for (old, new) in node.outputs.iter().zip(outputs) {
        if let Some(old) = old {
            patch.replace(*old, new);
        }
    }
    patch
}

/// The elements of a constant shape, given or computed from constants.
fn elements(graph: &Graph, shape: ValueId) -> Option<Vec<i64>> {
    if let Some(constant) = graph.initializer(shape) {
        return constant.tensor.to_i64();
    }
    let elements = graph.fact(shape).elements.as_ref()?;
    elements.iter().map(|dim| dim.known().map(|size| size as i64)).collect()
}
