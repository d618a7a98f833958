use refit_graph::{Graph, ValueId};

/// A layer that a quantizing edit takes to fewer bits, and that can be left in float32 instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizableLayer {
    /// Name of its weight, which the edit's `keep` goes by.
    pub weight: String,
    /// Elements of the weight: what keeping it costs in size, and in a matrix product in work for each token.
    pub elements: usize,
}

/// One layer a weight, however many nodes read it.
pub(super) fn of_weights(graph: &Graph, weights: impl Iterator<Item = ValueId>) -> Vec<QuantizableLayer> {
    let mut layers: Vec<QuantizableLayer> = Vec::new();
    for id in weights {
        let weight = &graph.value(id).name;
        let elements = graph.initializer(id).map_or(0, |initializer| initializer.tensor.len());
        if layers.iter().all(|layer| layer.weight != *weight) {
            layers.push(QuantizableLayer { weight: weight.clone(), elements });
        }
    }
    layers
}
