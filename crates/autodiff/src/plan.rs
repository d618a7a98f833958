//! What is computed, kept and freed: decided once, from the graph alone.

use crate::AutodiffError;
use candle_core::Tensor;
use refit_graph::{DType, Graph, Node, NodeId, ValueId};
use refit_ops::{Operator, Reads, Site};
use std::collections::BTreeMap;

/// One node that has to run.
pub(crate) struct Step {
    pub id: NodeId,
    pub node: Node,
    pub opset: i64,
    pub operator: &'static dyn Operator,
    /// Element types of the outputs, where they are known.
    pub types: Vec<Option<DType>>,
    /// Which inputs want a gradient; empty when none does.
    pub wanted: Vec<bool>,
    /// Whether the gradient of input 0 is made as that of some rows.
    pub by_rows: bool,
    /// Which forward values the reverse rule reads.
    pub reads: Reads,
    /// Steps that run again before the reverse rule, which reads what they make.
    pub again: Vec<usize>,
    /// Values that nobody reads after this node ran forwards, when evaluating.
    pub dead_after_evaluation: Vec<ValueId>,
    /// The same in training: values that a reverse rule reads stay, unless they are made again for it.
    pub dead_after_training: Vec<ValueId>,
}

/// Which nodes the outputs depend on.
pub(crate) fn needed_nodes(graph: &Graph, outputs: &[ValueId]) -> Vec<bool> {
    let producers = graph.producers();
    let mut needed = vec![false; graph.node_count()];
    let mut queue: Vec<ValueId> = outputs.to_vec();
    while let Some(value) = queue.pop() {
        if let Some(producer) = producers[value.index()]
            && !std::mem::replace(&mut needed[producer.index()], true)
        {
            queue.extend(graph.node(producer).inputs.iter().flatten());
        }
    }
    needed
}

/// Marks the values that a gradient has to reach, and records for each step what its reverse rule wants
/// and reads. Fails with every operator on the way that has no reverse rule.
pub(crate) fn mark_live(graph: &Graph, steps: &mut [Step], live: &mut [bool]) -> Result<(), AutodiffError> {
    let mut places = Vec::new();
    for step in steps {
        let wanted: Vec<bool> = step
            .node
            .inputs
            .iter()
            .enumerate()
            .map(|(index, input)| {
                input.is_some_and(|id| live[id.index()]) && step.operator.differentiable(index)
            })
            .collect();
        if !wanted.contains(&true) {
            continue;
        }
        match step.operator.reads(&Site::new(&step.node, step.opset), &wanted) {
            Some(reads) => {
                step.reads = reads;
                step.wanted = wanted;
                for output in step.node.outputs.iter().flatten() {
                    live[output.index()] = true;
                }
            }
            None => places.push(graph.describe(step.id)),
        }
    }
    if places.is_empty() { Ok(()) } else { Err(AutodiffError::NotDifferentiable { places }) }
}

/// Marks the steps that pick rows of a parameter which is used in no other way: its gradient need not be as large as the
/// parameter.
pub(crate) fn mark_rows(steps: &mut [Step], parameters: impl Iterator<Item = ValueId>) {
    for parameter in parameters {
        let uses = |step: &Step| -> Vec<usize> {
            let inputs = step.node.inputs.iter().zip(&step.wanted).enumerate();
            inputs.filter(|(_, (id, wanted))| **id == Some(parameter) && **wanted).map(|(i, _)| i).collect()
        };
        let picks = |step: &Step| step.operator.picks_rows(&Site::new(&step.node, step.opset));
        let users: Vec<usize> = (0..steps.len()).filter(|&index| !uses(&steps[index]).is_empty()).collect();
        if users.iter().all(|&index| uses(&steps[index]) == [0] && picks(&steps[index])) {
            users.into_iter().for_each(|index| steps[index].by_rows = true);
        }
    }
}

/// Which constants training changes without a gradient, with the values that hold what they become.
pub(crate) fn statistics(steps: &[Step], constants: &BTreeMap<ValueId, Tensor>) -> Vec<(ValueId, ValueId)> {
    let of_step = |step: &Step| -> Vec<(ValueId, ValueId)> {
        let pair =
            |(input, output): &(usize, usize)| Some((step.node.input(*input)?, step.node.output(*output)?));
        step.operator.updates().iter().filter_map(pair).collect()
    };
    steps.iter().flat_map(of_step).filter(|(constant, _)| constants.contains_key(constant)).collect()
}

/// Decides after which step each value is freed, and which are made again for the reverse pass. `kept` values stay:
/// outputs, inputs, parameters.
pub(crate) fn mark_dead(value_count: usize, steps: &mut [Step], kept: &[bool]) {
    let mut read_backwards = vec![false; value_count];
    for step in steps.iter() {
        let inputs = step.reads.inputs.iter().filter_map(|i| step.node.input(*i));
        let outputs = step.reads.outputs.iter().filter_map(|i| step.node.output(*i));
        for id in inputs.chain(outputs) {
            read_backwards[id.index()] = true;
        }
    }
    let made_again = made_again(steps, &read_backwards, kept);
    for step in steps.iter_mut() {
        let inputs = step.reads.inputs.iter().filter_map(|i| step.node.input(*i));
        let outputs = step.reads.outputs.iter().filter_map(|i| step.node.output(*i));
        step.again = inputs.chain(outputs).filter_map(|id| made_again[id.index()]).collect();
    }
    let mut seen = vec![false; value_count];
    for step in steps.iter_mut().rev() {
        for id in step.node.inputs.iter().chain(&step.node.outputs).flatten() {
            if kept[id.index()] || std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            step.dead_after_evaluation.push(*id);
            if !read_backwards[id.index()] || made_again[id.index()].is_some() {
                step.dead_after_training.push(*id);
            }
        }
    }
}

/// For each value that is made again for the reverse pass, the step that makes it: a cheap one, all of whose inputs are
/// there then, because a reverse rule reads them too.
fn made_again(steps: &[Step], read_backwards: &[bool], kept: &[bool]) -> Vec<Option<usize>> {
    let mut made_again = vec![None; kept.len()];
    for (index, step) in steps.iter().enumerate() {
        let stays =
            |id: &ValueId| kept[id.index()] || read_backwards[id.index()] && made_again[id.index()].is_none();
        if step.operator.is_cheap() && step.node.inputs.iter().flatten().all(stays) {
            for id in step.node.outputs.iter().flatten().filter(|id| !kept[id.index()]) {
                made_again[id.index()] = read_backwards[id.index()].then_some(index);
            }
        }
    }
    made_again
}
