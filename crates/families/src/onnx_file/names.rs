//! Names for weights that an exporter renamed (`onnx::MatMul_644`), so that they say their layer.
//!
//! In this order, until one gives a name with a layer in it:
//! 1. the bias of the same linear layer: `...layer.0.attention.self.query.bias` -> `....weight`;
//! 2. the name of the node that reads it: `/encoder/layer.0/attention/self/query/MatMul` ->
//!    `encoder.layer.0.attention.self.query.weight`;
//! 3. the place in the graph: what leads from its layer's input to an attention belongs to the layer of
//!    that attention, everything else to the layer of the last attention before it; what has none before
//!    it (the embeddings) has no layer. The name becomes `layer.<index>.<old name>`. In models that
//!    normalise before attention, that norm counts for the layer before.

use refit_graph::{Graph, Node, NodeId, OpName, ValueId};
use refit_passes::edit::{layer_of, parameters};
use std::collections::{BTreeMap, BTreeSet};

/// New names of the parameters that have no layer in theirs but belong to one.
pub(super) fn of_anonymous_weights(graph: &Graph) -> BTreeMap<ValueId, String> {
    let consumers = graph.consumers();
    let layers = node_layers(graph);
    let mut taken: BTreeSet<String> = graph
        .nodes()
        .flat_map(|(_, node)| node.outputs.iter().flatten())
        .map(|id| name(graph, *id))
        .collect();
    taken.extend(graph.initializers().map(|(id, _)| name(graph, id)));
    let mut renamed = BTreeMap::new();
    for id in parameters(graph) {
        if layer_of(&graph.value(id).name).is_some() {
            continue;
        }
        let Some(reader) = consumers[id.index()].first().copied() else { continue };
        let by_place =
            || layers[reader.index()].map(|layer| format!("layer.{layer}.{}", graph.value(id).name));
        let new = [from_bias(graph, graph.node(reader), id), from_node(graph.node(reader), id), by_place()]
            .into_iter()
            .flatten()
            .find(|name| layer_of(name).is_some() && !taken.contains(name));
        if let Some(new) = new {
            taken.insert(new.clone());
            renamed.insert(id, new);
        }
    }
    renamed
}

fn name(graph: &Graph, id: ValueId) -> String {
    graph.value(id).name.clone()
}

fn from_bias(graph: &Graph, node: &Node, weight: ValueId) -> Option<String> {
    let bias = node.input(2).filter(|_| node.op.is_refit("Linear") && node.input(1) == Some(weight))?;
    Some(format!("{}.weight", graph.value(bias).name.strip_suffix(".bias")?))
}

fn from_node(node: &Node, parameter: ValueId) -> Option<String> {
    let (module, _operator) = node.name.rsplit_once('/')?;
    let kind = if node.input(2) == Some(parameter) { "bias" } else { "weight" };
    Some(format!("{}.{kind}", module.trim_start_matches('/').replace('/', ".")))
}

/// The layer of every node; `None` before the first layer.
fn node_layers(graph: &Graph) -> Vec<Option<usize>> {
    let producers = graph.producers();
    // Attentions on the longest way to each value.
    let mut passed = vec![0usize; graph.value_count()];
    let mut layers = vec![None; graph.node_count()];
    for (id, node) in graph.nodes() {
        let before = node.inputs.iter().flatten().map(|input| passed[input.index()]).max().unwrap_or(0);
        let after = before + usize::from(is_attention(&node.op));
        for output in node.outputs.iter().flatten() {
            passed[output.index()] = after;
        }
        layers[id.index()] = after.checked_sub(1);
        if is_attention(&node.op) {
            for projection in projections(graph, &producers, node) {
                layers[projection.index()] = Some(before);
            }
        }
    }
    layers
}

/// The linear layers that make query, key and value of an attention, and what lies between.
fn projections(graph: &Graph, producers: &[Option<NodeId>], attention: &Node) -> Vec<NodeId> {
    let mut found = Vec::new();
    let mut queue: Vec<ValueId> = attention.inputs.iter().take(3).flatten().copied().collect();
    while let Some(value) = queue.pop() {
        let Some(producer) = producers[value.index()].filter(|producer| !found.contains(producer)) else {
            continue;
        };
        let node = graph.node(producer);
        let is_norm = node.op.is_refit("LayerNorm") || node.op.is("LayerNormalization");
        if is_norm || is_attention(&node.op) {
            continue;
        }
        found.push(producer);
        if !(node.op.is_refit("Linear") || node.op.is("MatMul") || node.op.is("Gemm")) {
            queue.extend(node.inputs.iter().flatten());
        }
    }
    found
}

/// A softmax is what remains of an attention that was not recognised.
fn is_attention(op: &OpName) -> bool {
    op.is_refit("Attention") || op.is("Softmax")
}
