use super::{HEAD_PREFIX, layer_of, num_layers, parameters};
use refit_graph::{Graph, ValueId};
use std::collections::BTreeMap;

/// How far a parameter is from the inputs: 0 for embeddings, `i + 1` for layer `i`, and one more than the
/// last layer for the head (Bao et al. 2022, the numbering of BEiT's layer-wise decay).
///
/// A parameter whose name says no layer (a final norm, a projection that an exporter named by a number)
/// is where the graph reads it first: as deep as what was read before it.
pub fn depths(graph: &Graph) -> BTreeMap<ValueId, usize> {
    let head = num_layers(graph) + 1;
    let mut depths = BTreeMap::new();
    let mut unnamed = parameters(graph);
    unnamed.retain(|id| {
        let name = &graph.value(*id).name;
        let named = if name.starts_with(HEAD_PREFIX) { Some(head) } else { layer_of(name).map(|l| l + 1) };
        depths.extend(named.map(|depth| (*id, depth)));
        named.is_none()
    });
    let mut deepest = 0;
    for (_, node) in graph.nodes() {
        let read: Vec<ValueId> = node.inputs.iter().flatten().copied().collect();
        let named = read.iter().filter_map(|id| depths.get(id).copied()).filter(|depth| *depth < head);
        deepest = named.fold(deepest, usize::max);
        for id in read.into_iter().filter(|id| unnamed.binary_search(id).is_ok()) {
            depths.entry(id).or_insert(deepest);
        }
    }
    depths
}

/// The depth of the head: one more than that of the last layer.
pub fn head_depth(graph: &Graph) -> usize {
    num_layers(graph) + 1
}
