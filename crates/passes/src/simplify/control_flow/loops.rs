//! `Loop(count?, condition?, state...; body)`, where `body(number, condition, state...)` gives the next
//! condition, the next state, and what is collected.

use super::{MAX_NODES, body, captures, known, stack, truth};
use crate::{PassError, rewrite::Rewrite};
use refit_graph::{HostTensor, Node, ValueId};

pub(super) fn unroll(rewrite: &mut Rewrite, node: &Node) -> Result<Option<Vec<ValueId>>, PassError> {
    let Some(body) = body(node, "body") else { return Ok(None) };
    let Some(states) = node.inputs.get(2..).map(|states| states.iter().copied().collect::<Option<Vec<_>>>())
    else {
        return Ok(None);
    };
    let Some(states) = states.filter(|states| fits(body, states.len())) else { return Ok(None) };
    let Some(count) = iterations(rewrite, node, body) else { return Ok(None) };
    let collects = body.outputs().len() - 1 - states.len();
    if count * body.node_count() > MAX_NODES || (count == 0 && collects > 0) {
        return Ok(None);
    }
    let Some(mut bound) = captures(rewrite, body) else { return Ok(None) };
    let mut states: Vec<ValueId> = states.into_iter().map(|state| rewrite.current(state)).collect();
    let truth = HostTensor::from_bytes(refit_graph::DType::Bool, Vec::new(), vec![1].into())?;
    let goes_on = rewrite.patch.initializer(&format!("{}.condition", node.name), truth, false);
    let mut collected = vec![Vec::new(); collects];
    for number in 0..count {
        let number = HostTensor::from_i64(&[], &[number as i64]);
        let number = rewrite.patch.initializer(&format!("{}.number", node.name), number, false);
        let inputs = [number, goes_on].into_iter().chain(states.iter().copied());
        bound.extend(body.inputs().iter().copied().zip(inputs));
        let graph = rewrite.graph();
        let outputs = rewrite.patch.inline(graph, body, &mut bound)?;
        let (next, rows) = outputs[1..].split_at(states.len());
        for (collected, row) in collected.iter_mut().zip(rows) {
            collected.push(*row);
        }
        states = next.to_vec();
    }
    let stacked = collected.iter().map(|rows| stack(rewrite, &node.name, rows, 0));
    let stacked: Vec<ValueId> = stacked.collect();
    Ok(Some(states.into_iter().chain(stacked).collect()))
}

fn fits(body: &refit_graph::Graph, states: usize) -> bool {
    body.inputs().len() == states + 2 && body.outputs().len() > states
}

/// How often the body runs; `None` when that is not known.
fn iterations(rewrite: &Rewrite, node: &Node, body: &refit_graph::Graph) -> Option<usize> {
    let given = |index: usize| node.input(index).map(|id| rewrite.constant(id));
    let most = match given(0) {
        Some(count) => usize::try_from(*count?.to_i64()?.first()?).unwrap_or(0),
        None => usize::MAX,
    };
    let mut goes_on = match given(1) {
        Some(condition) => truth(condition?)?,
        None => true,
    };
    let constants = known::constants(rewrite, body);
    let states = node.inputs.get(2..)?.iter().map(|state| rewrite.constant((*state)?).cloned());
    let mut states: Vec<Option<HostTensor>> = states.collect();
    let mut count = 0;
    while goes_on && count < most {
        // A body that only hands its condition on needs no look at every iteration.
        if count * body.node_count().max(1) > MAX_NODES {
            return None;
        }
        let mut values = constants.clone();
        values.insert(body.inputs()[0], HostTensor::from_i64(&[], &[count as i64]));
        let truth_now = HostTensor::from_bytes(refit_graph::DType::Bool, Vec::new(), vec![1].into()).ok()?;
        values.insert(body.inputs()[1], truth_now);
        for (input, state) in body.inputs()[2..].iter().zip(&states) {
            if let Some(state) = state {
                values.insert(*input, state.clone());
            }
        }
        known::follow(rewrite, body, &mut values);
        goes_on = truth(values.get(&body.outputs()[0])?)?;
        states = body.outputs()[1..=states.len()].iter().map(|id| values.get(id).cloned()).collect();
        count += 1;
    }
    Some(count)
}
