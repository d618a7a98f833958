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
    /// Which forward values the reverse rule reads.
    pub reads: Reads,
    /// Values that nobody reads after this node ran forwards, when evaluating.
    pub dead_after_evaluation: Vec<ValueId>,
    /// The same in training: values that a reverse rule reads stay.
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

/// Which constants training changes without a gradient, with the values that hold what they become.
pub(crate) fn statistics(steps: &[Step], constants: &BTreeMap<ValueId, Tensor>) -> Vec<(ValueId, ValueId)> {
    let of_step = |step: &Step| -> Vec<(ValueId, ValueId)> {
        let pair =
            |(input, output): &(usize, usize)| Some((step.node.input(*input)?, step.node.output(*output)?));
        step.operator.updates().iter().filter_map(pair).collect()
    };
    steps.iter().flat_map(of_step).filter(|(constant, _)| constants.contains_key(constant)).collect()
}

/// Decides after which step each value is freed. `kept` values stay: outputs, inputs, parameters.
pub(crate) fn mark_dead(value_count: usize, steps: &mut [Step], kept: &[bool]) {
    let mut read_backwards = vec![false; value_count];
    for step in steps.iter() {
        let inputs = step.reads.inputs.iter().filter_map(|i| step.node.input(*i));
        let outputs = step.reads.outputs.iter().filter_map(|i| step.node.output(*i));
        for id in inputs.chain(outputs) {
            read_backwards[id.index()] = true;
        }
    }
    let mut seen = vec![false; value_count];
    for step in steps.iter_mut().rev() {
        for id in step.node.inputs.iter().chain(&step.node.outputs).flatten() {
            if kept[id.index()] || std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            step.dead_after_evaluation.push(*id);
            if !read_backwards[id.index()] {
                step.dead_after_training.push(*id);
            }
        }
    }
}
