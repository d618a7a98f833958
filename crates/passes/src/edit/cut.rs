//! Splits a partly frozen model: what training cannot change is computed once per example.
//!
//! ```text
//! inputs -> embeddings -> layer 0 -> layer 1* -> head* -> logits
//! =>  prefix:  inputs -> embeddings -> layer 0 -> features.0
//!     suffix:  features.0, attention_mask -> layer 1* -> head* -> logits          (* = trainable)
//! ```
//!
//! A feature is a value that training cannot change, that depends on weights and on the inputs'
//! elements, and that a trainable part reads. What follows from the inputs' shapes or from the mask alone
//! is cheap and stays in the suffix, and so does dropout directly before the trainable part: it draws
//! anew in every epoch.

use super::parameters;
use crate::PassError;
use refit_graph::{Dim, Fact, Graph, Model, Node, OpName, Patch, ValueId};
use std::collections::BTreeSet;

/// Matrix products (attentions included) that a feature has to save, to be worth its place on disk.
const PRODUCTS_PER_FEATURE: usize = 4;

/// The two halves of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The inputs -> the features. Nothing in it is trainable.
    pub prefix: Model,
    /// The features and such inputs as it still needs -> those outputs that training can change.
    pub suffix: Model,
    /// Names of the features: outputs of the prefix and inputs of the suffix. Axis 0 is the batch; axis 1,
    /// where the prefix says `sequence`, follows the length of the text and is padded like it.
    pub features: Vec<String>,
}

/// Cuts a model at the border of what is trainable. `None` when nothing, or too little to be worth the
/// disk, lies before it.
///
/// # Errors
/// When no output depends on a trainable parameter.
pub fn split_frozen(model: &Model) -> Result<Option<Split>, PassError> {
    let graph = &model.graph;
    let marks = Marks::of(graph);
    let live: Vec<ValueId> = graph.outputs().iter().copied().filter(|id| marks.live[id.index()]).collect();
    if live.is_empty() {
        return Err(PassError::refused(
            "no output depends on a trainable parameter: nothing could be trained",
        ));
    }
    let features = marks.frontier(graph);
    if features.is_empty() || !is_worth_it(graph, &features) {
        return Ok(None);
    }
    let names: Vec<String> = (0..features.len()).map(|index| format!("features.{index}")).collect();
    let prefix = prefix(model, &features, &names)?;
    let suffix = suffix(model, &features, &names, live)?;
    Ok(Some(Split { prefix, suffix, features: names }))
}

/// What each value depends on: one entry a value.
struct Marks {
    /// On a trainable parameter.
    live: Vec<bool>,
    /// On any parameter.
    weighted: Vec<bool>,
    /// On the elements of an input, not on its shape alone.
    fed: Vec<bool>,
}

impl Marks {
    fn of(graph: &Graph) -> Self {
        let none = vec![false; graph.value_count()];
        let mut marks = Self { live: none.clone(), weighted: none.clone(), fed: none };
        for id in graph.inputs() {
            marks.fed[id.index()] = true;
        }
        for id in parameters(graph) {
            marks.weighted[id.index()] = true;
        }
        for (id, initializer) in graph.initializers() {
            marks.live[id.index()] = initializer.trainable;
        }
        for (_, node) in graph.nodes() {
            let any = |mark: &[bool]| node.inputs.iter().flatten().any(|input| mark[input.index()]);
            let (live, weighted) = (any(&marks.live), any(&marks.weighted));
            let fed = any(&marks.fed) && !node.op.is("Shape");
            for output in node.outputs.iter().flatten() {
                marks.live[output.index()] = live;
                marks.weighted[output.index()] = weighted;
                marks.fed[output.index()] = fed;
            }
        }
        marks
    }

    /// The features: found by walking from what is live back over what the suffix computes itself.
    fn frontier(&self, graph: &Graph) -> Vec<ValueId> {
        let producers = graph.producers();
        let mut seen = BTreeSet::new();
        let mut features = BTreeSet::new();
        let mut queue: Vec<ValueId> =
            graph.outputs().iter().copied().filter(|id| self.live[id.index()]).collect();
        while let Some(value) = queue.pop() {
            let Some(producer) = producers[value.index()].filter(|_| seen.insert(value)) else { continue };
            let node = graph.node(producer);
            if self.is_feature(graph, value) && !is_dropout(&node.op) {
                features.insert(value);
            } else {
                queue.extend(node.inputs.iter().flatten());
            }
        }
        features.into_iter().collect()
    }

    fn is_feature(&self, graph: &Graph, value: ValueId) -> bool {
        let index = value.index();
        !self.live[index] && self.weighted[index] && self.fed[index] && has_batch_axis(graph, value)
    }
}

/// Whether what lies before the cut is more work than its features are data: each of them takes as
/// much disk as an activation.
fn is_worth_it(graph: &Graph, features: &[ValueId]) -> bool {
    let before = nodes_before(graph, features);
    let saved = graph.nodes().filter(|(id, node)| is_heavy(node) && before.contains(&id.index()));
    saved.count() >= PRODUCTS_PER_FEATURE * features.len()
}

fn is_dropout(op: &OpName) -> bool {
    op.is_refit("Dropout") || op.is("Dropout")
}

fn is_heavy(node: &Node) -> bool {
    let op = &node.op;
    op.is_refit("Linear") || op.is_refit("Attention") || op.is("MatMul") || op.is("Gemm") || op.is("Conv")
}

/// Whether axis 0 is the inputs' batch; true as well where nothing is known of the shape.
fn has_batch_axis(graph: &Graph, value: ValueId) -> bool {
    let axis = |id: ValueId| graph.fact(id).shape.as_ref().map(|shape| shape.first().cloned());
    match axis(value) {
        None | Some(Some(Dim::Unknown)) => true,
        Some(None) => false,
        Some(first) => graph.inputs().iter().any(|input| axis(*input) == Some(first.clone())),
    }
}

fn nodes_before(graph: &Graph, values: &[ValueId]) -> BTreeSet<usize> {
    let producers = graph.producers();
    let mut nodes = BTreeSet::new();
    let mut queue = values.to_vec();
    while let Some(value) = queue.pop() {
        let Some(producer) = producers[value.index()] else { continue };
        if nodes.insert(producer.index()) {
            queue.extend(graph.node(producer).inputs.iter().flatten());
        }
    }
    nodes
}

fn prefix(model: &Model, features: &[ValueId], names: &[String]) -> Result<Model, PassError> {
    let mut prefix = model.clone();
    let mut patch = Patch::new(&prefix.graph);
    patch.set_outputs(features.to_vec());
    for (feature, name) in features.iter().zip(names) {
        patch.rename(*feature, name);
    }
    patch.apply(&mut prefix.graph)?;
    drop_unread_inputs(&mut prefix.graph)?;
    Ok(prefix)
}

fn suffix(
    model: &Model,
    features: &[ValueId],
    names: &[String],
    outputs: Vec<ValueId>,
) -> Result<Model, PassError> {
    let mut suffix = model.clone();
    let mut patch = Patch::new(&suffix.graph);
    patch.set_outputs(outputs);
    for (feature, name) in features.iter().zip(names) {
        let known = model.graph.fact(*feature);
        let fact = Fact { dtype: known.dtype, shape: known.shape.clone(), elements: None };
        let input = patch.input(name, fact);
        patch.replace(*feature, input);
        patch.rename(input, name);
    }
    patch.apply(&mut suffix.graph)?;
    drop_unread_inputs(&mut suffix.graph)?;
    Ok(suffix)
}

fn drop_unread_inputs(graph: &mut Graph) -> Result<(), PassError> {
    let consumers = graph.consumers();
    let mut patch = Patch::new(graph);
    for id in graph.inputs() {
        if consumers[id.index()].is_empty() && !graph.outputs().contains(id) {
            patch.remove_input(*id);
        }
    }
    patch.apply(graph)?;
    Ok(())
}
