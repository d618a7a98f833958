//! DistilBERT (Sanh et al. 2019): BERT's layers under other names, without token types and without the
//! dropout after the attention.

use crate::{
    ANCHOR, Encoder, Family, FamilyError,
    config::Config,
    transformer::{Keys, LayerNames, Positions, Sizes, Transformer},
    weights::Weights,
};

pub(crate) const FAMILY: Family = Family { names: &["distilbert"], prefix: PREFIX, build };

/// Before the names of the encoder, where a head stands beside it.
const PREFIX: &str = "distilbert.";

const KEYS: Keys = Keys {
    hidden: "dim",
    layers: "n_layers",
    heads: "n_heads",
    intermediate: "hidden_dim",
    activation: "activation",
    dropout: "dropout",
    epsilon: None,
    types: None,
};

const LAYER: LayerNames = LayerNames {
    layers: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    context: "attention.out_lin",
    context_norm: "sa_layer_norm",
    wide: "ffn.lin1",
    narrow: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// Buffers and the heads of other tasks.
const IGNORED: [&str; 7] = [
    "embeddings.position_ids",
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "pre_classifier.",
    "classifier.",
    "qa_outputs.",
];

fn build(config: &Config, mut weights: Weights) -> Result<Encoder, FamilyError> {
    let sizes = Sizes { attention_dropout: 0.0, ..Sizes::read(config, &KEYS)? };
    // Sinusoids lie in the file like any other table.
    config.optional::<bool>("sinusoidal_pos_embds")?;
    weights.root_at(ANCHOR, PREFIX);

    let mut distilbert = Transformer::new("distilbert", sizes, weights);
    let embedded = distilbert.embeddings(Positions::FromZero);
    let hidden = distilbert.layers(&LAYER, embedded, None);
    distilbert.finish(hidden, &IGNORED, sizes.positions)
}
