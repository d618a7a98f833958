use crate::{FamilyError, config::Config};

/// The sizes and rates of one encoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) vocabulary: usize,
    /// Length of the embeddings: that of the hidden vectors but for ELECTRA.
    pub(crate) embedding: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) intermediate: usize,
    /// Rows of the position table.
    pub(crate) positions: usize,
    /// Rows of the table of token types; 0 in families without one.
    pub(crate) types: usize,
    pub(crate) epsilon: f32,
    pub(crate) gelu: &'static str,
    /// Rate after the embeddings and after the feed-forward part of each layer.
    pub(crate) dropout: f32,
    /// Rate after the attention of each layer.
    pub(crate) attention_dropout: f32,
}

/// What a family calls its settings.
pub(crate) struct Keys {
    pub(crate) hidden: &'static str,
    pub(crate) layers: &'static str,
    pub(crate) heads: &'static str,
    pub(crate) intermediate: &'static str,
    pub(crate) activation: &'static str,
    pub(crate) dropout: &'static str,
    /// `None`: it has no such setting, and the default of BERT.
    pub(crate) epsilon: Option<&'static str>,
    /// `None`: it has no token types.
    pub(crate) types: Option<&'static str>,
}

impl Keys {
    /// Those of BERT.
    pub(crate) const BERT: Self = Self {
        hidden: "hidden_size",
        layers: "num_hidden_layers",
        heads: "num_attention_heads",
        intermediate: "intermediate_size",
        activation: "hidden_act",
        dropout: "hidden_dropout_prob",
        epsilon: Some("layer_norm_eps"),
        types: Some("type_vocab_size"),
    };
}

impl Sizes {
    pub(crate) fn read(config: &Config, keys: &Keys) -> Result<Self, FamilyError> {
        config.require(&[
            "vocab_size",
            keys.hidden,
            keys.layers,
            keys.heads,
            keys.intermediate,
            "max_position_embeddings",
        ])?;
        refuse_variants(config)?;
        let hidden = config.size(keys.hidden)?;
        let heads = config.size(keys.heads)?;
        if !hidden.is_multiple_of(heads) {
            return Err(config.bad(keys.heads, &format!("a divisor of {} ({hidden})", keys.hidden)));
        }
        let dropout = config.probability(keys.dropout, 0.1)?;
        Ok(Self {
            vocabulary: config.size("vocab_size")?,
            embedding: hidden,
            hidden,
            layers: layers(config, keys.layers)?,
            heads,
            intermediate: config.size(keys.intermediate)?,
            positions: config.size("max_position_embeddings")?,
            types: keys.types.map_or(Ok(0), |key| types(config, key))?,
            epsilon: epsilon(config, keys.epsilon)?,
            gelu: gelu(config, keys.activation)?,
            dropout,
            attention_dropout: dropout,
        })
    }

    /// The longest text where the rows of positions up to that of `padding` belong to no token.
    pub(crate) fn length_after(&self, padding: usize, config: &Config) -> Result<usize, FamilyError> {
        let first = padding + 1;
        self.positions.checked_sub(first).filter(|length| *length > 0).ok_or_else(|| {
            config.bad(
                "max_position_embeddings",
                &format!("above {first}: tokens have the rows after that of padding"),
            )
        })
    }
}

/// Settings that would make another graph than the one built here.
fn refuse_variants(config: &Config) -> Result<(), FamilyError> {
    let positions = config.optional::<String>("position_embedding_type")?;
    if positions.is_some_and(|kind| kind != "absolute") {
        return Err(
            config.bad("position_embedding_type", "\"absolute\": relative positions are not supported")
        );
    }
    for key in ["is_decoder", "add_cross_attention"] {
        if config.optional::<bool>(key)?.unwrap_or(false) {
            return Err(config.bad(key, "false: only encoders are supported"));
        }
    }
    Ok(())
}

/// Number of layers, bounded: each one becomes nodes of the graph before any weight is looked at.
fn layers(config: &Config, key: &str) -> Result<usize, FamilyError> {
    const MOST: usize = 1024;
    match config.size(key)? {
        layers if layers <= MOST => Ok(layers),
        _ => Err(config.bad(key, "a whole number from 1 to 1024")),
    }
}

fn types(config: &Config, key: &str) -> Result<usize, FamilyError> {
    match config.optional::<usize>(key)? {
        Some(_) => config.size(key),
        None => Ok(2),
    }
}

fn epsilon(config: &Config, key: Option<&str>) -> Result<f32, FamilyError> {
    const DEFAULT: f32 = 1e-12;
    let Some(key) = key else { return Ok(DEFAULT) };
    match config.optional::<f32>(key)?.unwrap_or(DEFAULT) {
        epsilon if epsilon > 0.0 && epsilon < 1.0 => Ok(epsilon),
        _ => Err(config.bad(key, "above 0 and below 1")),
    }
}

fn gelu(config: &Config, key: &str) -> Result<&'static str, FamilyError> {
    match config.optional::<String>(key)?.as_deref() {
        None | Some("gelu") => Ok("none"),
        Some("gelu_new" | "gelu_pytorch_tanh") => Ok("tanh"),
        Some(_) => Err(config.bad(key, "\"gelu\", \"gelu_new\" or \"gelu_pytorch_tanh\"")),
    }
}
