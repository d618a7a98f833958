//! `Scan(state..., sequence...; body)` (version 9 on), where `body(state..., element...)` gives the next
//! state and what is collected.

use super::{MAX_NODES, body, captures, stack};
use crate::{PassError, rewrite::Rewrite};
use refit_graph::{Attribute, Dim, HostTensor, Node, OpName, ValueId};

pub(super) fn unroll(rewrite: &mut Rewrite, node: &Node) -> Result<Option<Vec<ValueId>>, PassError> {
    let Some(body) = body(node, "body").filter(|_| rewrite.model.opset() >= 9) else { return Ok(None) };
    let Some(inputs) = node.inputs.iter().copied().collect::<Option<Vec<_>>>() else { return Ok(None) };
    let scanned = node.int("num_scan_inputs").and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    let Some(state_count) = inputs.len().checked_sub(scanned) else { return Ok(None) };
    if scanned == 0 || body.inputs().len() != inputs.len() || body.outputs().len() < state_count {
        return Ok(None);
    }
    let (states, sequences) = inputs.split_at(state_count);
    let Some(sequences) = sequences
        .iter()
        .enumerate()
        .map(|(index, id)| Sequence::new(rewrite, node, index, *id))
        .collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let length = sequences[0].length;
    let same = sequences.iter().all(|sequence| sequence.length == length);
    if !same || length == 0 || length * body.node_count() > MAX_NODES {
        return Ok(None);
    }
    let Some(mut bound) = captures(rewrite, body) else { return Ok(None) };
    let mut states: Vec<ValueId> = states.iter().map(|state| rewrite.current(*state)).collect();
    let mut collected = vec![Vec::new(); body.outputs().len() - state_count];
    for step in 0..length {
        let elements: Vec<ValueId> =
            sequences.iter().map(|sequence| sequence.element(rewrite, &node.name, step)).collect();
        bound.extend(body.inputs().iter().copied().zip(states.iter().copied().chain(elements)));
        let graph = rewrite.graph();
        let outputs = rewrite.patch.inline(graph, body, &mut bound)?;
        let (next, rows) = outputs.split_at(state_count);
        for (collected, row) in collected.iter_mut().zip(rows) {
            collected.push(*row);
        }
        states = next.to_vec();
    }
    let mut outputs = states;
    for (index, mut rows) in collected.into_iter().enumerate() {
        if entry(node, "scan_output_directions", index) != 0 {
            rows.reverse();
        }
        outputs.push(stack(rewrite, &node.name, &rows, entry(node, "scan_output_axes", index)));
    }
    Ok(Some(outputs))
}

/// Entry of a list of integers that may be absent: 0 then.
fn entry(node: &Node, list: &str, index: usize) -> i64 {
    node.ints(list).and_then(|entries| entries.get(index)).copied().unwrap_or(0)
}

/// An input whose elements along an axis go into the body one by one.
struct Sequence {
    id: ValueId,
    axis: i64,
    length: usize,
    backwards: bool,
}

impl Sequence {
    fn new(rewrite: &Rewrite, node: &Node, index: usize, id: ValueId) -> Option<Self> {
        let axis = entry(node, "scan_input_axes", index);
        let shape = rewrite.shape(id)?;
        let from_front = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
        let length = shape.get(from_front).and_then(Dim::known)?;
        Some(Self { id, axis, length, backwards: entry(node, "scan_input_directions", index) != 0 })
    }

    fn element(&self, rewrite: &mut Rewrite, name: &str, step: usize) -> ValueId {
        let at = if self.backwards { self.length - 1 - step } else { step };
        let at = HostTensor::from_i64(&[], &[at as i64]);
        let at = rewrite.patch.initializer(&format!("{name}.at"), at, false);
        let axis = [("axis", Attribute::Int(self.axis))];
        rewrite.node(OpName::standard("Gather"), &format!("{name}.element"), &[self.id, at], axis)
    }
}
