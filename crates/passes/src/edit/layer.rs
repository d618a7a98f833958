use super::parameters;
use refit_graph::Graph;

/// Names before a number that mean "layer of this index".
const LAYER_WORDS: [&str; 6] = ["layer", "layers", "h", "block", "blocks", "resblocks"];

/// The layer that a parameter belongs to, read from its name: 3 for
/// `encoder.layer.3.attention.self.query.weight`. `None` for embeddings, heads and final norms.
pub fn layer_of(name: &str) -> Option<usize> {
    let mut segments = name.split(['.', '/', ':']).peekable();
    while let Some(segment) = segments.next() {
        if LAYER_WORDS.contains(&segment)
            && let Some(index) = segments.peek().and_then(|next| next.parse().ok())
        {
            return Some(index);
        }
    }
    None
}

/// Number of layers: one more than the highest index in the names of the parameters.
pub fn num_layers(graph: &Graph) -> usize {
    let layers = parameters(graph).into_iter().filter_map(|id| layer_of(&graph.value(id).name));
    layers.max().map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::layer_of;

    #[test]
    fn names_of_several_families() {
        for (name, layer) in [
            ("encoder.layer.3.attention.self.query.weight", Some(3)),
            ("model.0.auto_model.encoder.layer.11.output.dense.bias", Some(11)),
            ("model.layers.7.mlp.gate_proj.weight", Some(7)),
            ("h.0.attn.c_attn.weight", Some(0)),
            ("layer.2.onnx::MatMul_470", Some(2)),
            ("embeddings.word_embeddings.weight", None),
            ("model.0.auto_model.embeddings.LayerNorm.weight", None),
            ("classifier.weight", None),
            ("onnx::MatMul_644", None),
            ("layer.norm.weight", None),
        ] {
            assert_eq!(layer_of(name), layer, "{name}");
        }
    }
}
