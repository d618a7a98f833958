use refit_graph::{Graph, Node, ValueId};
use std::collections::BTreeSet;

/// The constants that training may change: float tensors in the place of an operator's weights. Masks,
/// scales, bounds and other constants of the arithmetic are none.
pub fn parameters(graph: &Graph) -> Vec<ValueId> {
    let mut found = BTreeSet::new();
    for (_, node) in graph.nodes() {
        let places = weight_places(node).iter().filter_map(|place| node.input(*place));
        found.extend(places.filter(|id| is_float_array(graph, *id)));
    }
    found.into_iter().collect()
}

fn is_float_array(graph: &Graph, id: ValueId) -> bool {
    graph.initializer(id).is_some_and(|initializer| {
        initializer.tensor.dtype().is_float() && !initializer.tensor.shape().is_empty()
    })
}

/// Which inputs of an operator hold weights.
fn weight_places(node: &Node) -> &'static [usize] {
    let op = &node.op;
    if op.is_refit("Linear") || op.is_refit("LayerNorm") || op.is("LayerNormalization") {
        // A table of relative positions is itself normalised and projected.
        return &[0, 1, 2];
    }
    if op.is("Gather") || op.is("Slice") || op.is_refit("Dropout") {
        return &[0];
    }
    // The running mean and variance of a batch normalization are statistics, not weights.
    let scaled = ["BatchNormalization", "GroupNormalization", "InstanceNormalization"];
    if op.is_refit("BatchNorm") {
        return &[1, 2];
    }
    if op.is("RNN") || op.is("GRU") || op.is("LSTM") {
        return &[1, 2, 3, 7];
    }
    if op.is("Gemm") || op.is("Conv") || op.is("ConvTranspose") || scaled.iter().any(|name| op.is(name)) {
        return &[1, 2];
    }
    if op.is("PRelu") || op.is("RMSNormalization") || op.is_refit("RmsNorm") {
        return &[1];
    }
    if op.is("MatMul") {
        return &[0, 1];
    }
    &[]
}
