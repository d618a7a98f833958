//! ModernBERT (Warner et al. 2024): normalised before each block, rotary positions (Su et al. 2021), a gated
//! feed-forward part, and attentions of which only every third one sees the whole text.
//!
//! ```text
//! x -> norm -> Wqkv -> q, k, v -> rotate q and k -> attention -> Wo -> Dropout -> Add(x) = y
//! y -> norm -> Wi -> GELU(first half) * second half -> Dropout -> Wo -> Add(y)
//! ```
//!
//! The first layer has no norm before its attention: that of the embeddings stands before it.

use crate::{
    Encoder, Family, FamilyError, Pooling,
    config::Config,
    transformer::{Bias, Keys, Sizes, Transformer},
    weights::Weights,
};
use refit_graph::{Attribute, ValueId};
use serde_json::Value;

pub(crate) const FAMILY: Family = Family { names: &["modernbert"], prefix: PREFIX, build };

/// Before the names of the encoder, where a head stands beside it.
const PREFIX: &str = "model.";

const KEYS: Keys = Keys {
    activation: "hidden_activation",
    dropout: "mlp_dropout",
    epsilon: Some("norm_eps"),
    types: None,
    ..Keys::BERT
};

/// The heads of other tasks.
const IGNORED: [&str; 4] = ["head.", "decoder.", "classifier.", "qa_outputs."];

/// What an attention sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// The whole text.
    Full,
    /// So many tokens on each side.
    Window,
}

struct ModernBert {
    net: Transformer,
    sights: Vec<Sight>,
    /// The base of the rotations' periods in layers of full sight, and in the others.
    thetas: [f64; 2],
    /// How far a window reaches on each side.
    reach: i64,
    linear_bias: Bias,
    norm_bias: Bias,
    mlp_bias: Bias,
    embedding_dropout: f32,
}

/// The cosines and sines of every position, `[S, 1, width]`, and what is added to the scores.
#[derive(Clone, Copy)]
struct Sightings {
    cosines: ValueId,
    sines: ValueId,
    window: Option<ValueId>,
}

fn build(config: &Config, mut weights: Weights) -> Result<Encoder, FamilyError> {
    config.require(&["norm_eps"])?;
    let sizes = Sizes {
        dropout: config.probability("mlp_dropout", 0.0)?,
        attention_dropout: config.probability("attention_dropout", 0.0)?,
        ..Sizes::read(config, &KEYS)?
    };
    if !(sizes.hidden / sizes.heads).is_multiple_of(2) {
        return Err(config.bad("num_attention_heads", "such that heads have an even width: they are rotated"));
    }
    let pooling = match config.optional::<String>("classifier_pooling")?.as_deref() {
        None | Some("cls") => Pooling::Cls,
        Some("mean") => Pooling::Mean,
        Some(_) => return Err(config.bad("classifier_pooling", "\"cls\" or \"mean\"")),
    };
    let bias = |key| config.optional::<bool>(key).map(|has| Bias::from(has.unwrap_or(false)));
    weights.root_at("embeddings.tok_embeddings.weight", PREFIX);
    let mut bert = ModernBert {
        sights: sights(config, sizes.layers)?,
        thetas: thetas(config)?,
        reach: config.optional::<u32>("local_attention")?.map_or(64, |both| i64::from(both / 2)),
        linear_bias: bias("attention_bias")?,
        norm_bias: bias("norm_bias")?,
        mlp_bias: bias("mlp_bias")?,
        embedding_dropout: config.probability("embedding_dropout", 0.0)?,
        net: Transformer::new("modernbert", sizes, weights),
    };
    let hidden = bert.encoder();
    let encoder = bert.net.finish(hidden, &IGNORED, sizes.positions)?;
    Ok(Encoder { pooling, ..encoder })
}

impl ModernBert {
    fn encoder(&mut self) -> ValueId {
        let sizes = self.net.sizes;
        let words = self.net.parameter("embeddings.tok_embeddings.weight", &[sizes.vocabulary, sizes.hidden]);
        let ids = self.net.input_ids();
        let embedded = self.net.standard("Gather", "embeddings.words", &[words, ids]);
        let normed = self.norm("embeddings.norm", embedded);
        let mut x = self.net.dropout("embeddings.drop", normed, self.embedding_dropout);

        let window = self.sights.contains(&Sight::Window).then(|| self.window());
        let full = self.sights.contains(&Sight::Full).then(|| self.rotations("full", self.thetas[0], None));
        let local = window.map(|window| self.rotations("local", self.thetas[1], Some(window)));
        for (index, sight) in self.sights.clone().into_iter().enumerate() {
            let sightings = if sight == Sight::Full { full } else { local };
            // There is one for each kind of layer.
            let Some(sightings) = sightings else { continue };
            x = self.layer(index, x, sightings);
        }
        self.norm("final_norm", x)
    }

    fn norm(&mut self, module: &str, x: ValueId) -> ValueId {
        self.net.layer_norm_with(module, x, self.net.sizes.hidden, self.norm_bias)
    }

    fn layer(&mut self, index: usize, x: ValueId, sightings: Sightings) -> ValueId {
        let sizes = self.net.sizes;
        let (hidden, wide) = (sizes.hidden, sizes.intermediate);
        let name = |part: &str| format!("layers.{index}.{part}");
        let normed = if index == 0 { x } else { self.norm(&name("attn_norm"), x) };
        let projected =
            self.net.linear_with(&name("attn.Wqkv"), normed, [hidden, 3 * hidden], self.linear_bias);
        let [query, key, value] = self.net.parts(&name("attn.parts"), projected);
        let query = self.rotate(&name("attn.query"), query, sightings);
        let key = self.rotate(&name("attn.key"), key, sightings);
        let attended = self.net.attention(&name("attn.context"), [query, key, value], sightings.window);
        let projected = self.net.linear_with(&name("attn.Wo"), attended, [hidden; 2], self.linear_bias);
        let dropped = self.net.dropout(&name("attn.out_drop"), projected, sizes.attention_dropout);
        let y = self.net.standard("Add", &name("attn.sum"), &[x, dropped]);

        let normed = self.norm(&name("mlp_norm"), y);
        let widened = self.net.linear_with(&name("mlp.Wi"), normed, [hidden, 2 * wide], self.mlp_bias);
        let [first, gate] = self.net.parts(&name("mlp.parts"), widened);
        let active = self.net.gelu(&name("mlp.gelu"), first);
        let gated = self.net.standard("Mul", &name("mlp.gated"), &[active, gate]);
        let dropped = self.net.dropout(&name("mlp.drop"), gated, sizes.dropout);
        let narrowed = self.net.linear_with(&name("mlp.Wo"), dropped, [wide, hidden], self.mlp_bias);
        self.net.standard("Add", &name("mlp.sum"), &[y, narrowed])
    }

    /// `x * cos + (-second half, first half) * sin` in each head.
    fn rotate(&mut self, name: &str, x: ValueId, by: Sightings) -> ValueId {
        let sizes = self.net.sizes;
        let width = (sizes.hidden / sizes.heads) as i64;
        let part = |part: &str| format!("{name}.{part}");
        let net = &mut self.net;
        let split = net.integers(&part("split"), &[0, 0, sizes.heads as i64, width]);
        let merge = net.integers(&part("merge"), &[0, 0, sizes.hidden as i64]);
        let heads = net.standard("Reshape", &part("heads"), &[x, split]);
        let [first, second] = net.parts(&part("halves"), heads);
        let turned = net.standard("Neg", &part("turned"), &[second]);
        let last = [("axis", Attribute::Int(-1))];
        let turned = net.standard_with("Concat", &part("rotated_half"), &[turned, first], last);
        let straight = net.standard("Mul", &part("by_cosine"), &[heads, by.cosines]);
        let turned = net.standard("Mul", &part("by_sine"), &[turned, by.sines]);
        let sum = net.standard("Add", &part("rotated"), &[straight, turned]);
        net.standard("Reshape", &part("merged"), &[sum, merge])
    }

    /// The angle of pair `i` of `width / 2` at a position is `position / theta^(2 i / width)`.
    fn rotations(&mut self, kind: &str, theta: f64, window: Option<ValueId>) -> Sightings {
        let sizes = self.net.sizes;
        let width = sizes.hidden / sizes.heads;
        let name = |part: &str| format!("rotary.{kind}.{part}");
        let net = &mut self.net;
        let frequency = |pair: usize| 1.0 / (theta as f32).powf((2 * pair) as f32 / width as f32);
        let frequencies: Vec<f32> = (0..width / 2).map(frequency).collect();
        let frequencies = net.numbers(&name("frequencies"), &frequencies);
        let positions = net.positions(&name(""), sizes.positions);
        let positions = net.float(&name("positions_as_numbers"), positions);
        let axes = net.integers(&name("axes"), &[1, 2]);
        let column = net.standard("Unsqueeze", &name("column"), &[positions, axes]);
        let angles = net.standard("Mul", &name("half_angles"), &[column, frequencies]);
        let last = [("axis", Attribute::Int(-1))];
        let angles = net.standard_with("Concat", &name("angles"), &[angles, angles], last);
        let cosines = net.standard("Cos", &name("cosines"), &[angles]);
        let sines = net.standard("Sin", &name("sines"), &[angles]);
        Sightings { cosines, sines, window }
    }

    /// 0 where a key is near enough to the query, the lowest float32 where not: `[S, S]`.
    fn window(&mut self) -> ValueId {
        let reach = self.reach;
        let net = &mut self.net;
        let far =
            net.of_distances("window.", net.sizes.positions, |distance| i64::from(distance.abs() > reach));
        let zero = net.integer("window.near", 0);
        let near = net.standard("Equal", "window.is_near", &[far, zero]);
        let [nothing, lowest] = [0.0, f32::MIN].map(|value| net.number("window.value", value));
        net.standard("Where", "window.bias", &[near, nothing, lowest])
    }
}

/// What each layer sees: `layer_types`, or every nth layer all of it.
fn sights(config: &Config, layers: usize) -> Result<Vec<Sight>, FamilyError> {
    let every = config.optional::<usize>("global_attn_every_n_layers")?.unwrap_or(3);
    let Some(types) = config.optional::<Vec<String>>("layer_types")? else {
        if every == 0 {
            return Err(config.bad("global_attn_every_n_layers", "at least 1"));
        }
        let sight = |layer: usize| if layer.is_multiple_of(every) { Sight::Full } else { Sight::Window };
        return Ok((0..layers).map(sight).collect());
    };
    let sights: Option<Vec<Sight>> = types
        .iter()
        .map(|kind| match kind.as_str() {
            "full_attention" => Some(Sight::Full),
            "sliding_attention" => Some(Sight::Window),
            _ => None,
        })
        .collect();
    sights.filter(|sights| sights.len() == layers).ok_or_else(|| {
        config.bad("layer_types", "\"full_attention\" or \"sliding_attention\" for each of num_hidden_layers")
    })
}

/// `rope_parameters`, or the two keys of older configurations.
fn thetas(config: &Config) -> Result<[f64; 2], FamilyError> {
    let given = config.optional::<Value>("rope_parameters")?;
    if config.optional::<Value>("rope_scaling")?.is_some() {
        return Err(config.bad("rope_scaling", "absent: scaled rotations are not supported"));
    }
    let theta = |kind: &str, key: &str, default: f64| -> Result<f64, FamilyError> {
        let parameters = given.as_ref().and_then(|given| given.get(kind));
        let scaling = parameters.and_then(|parameters| parameters.get("rope_type")).and_then(Value::as_str);
        if scaling.is_some_and(|scaling| scaling != "default") {
            return Err(config.bad("rope_parameters", "of rope_type \"default\": others are not supported"));
        }
        let old = config.optional::<f64>(key)?;
        let new = parameters.and_then(|parameters| parameters.get("rope_theta")).and_then(Value::as_f64);
        match new.or(old).unwrap_or(default) {
            theta if theta > 1.0 && theta.is_finite() => Ok(theta),
            _ => Err(config.bad(if new.is_some() { "rope_parameters" } else { key }, "a theta above 1")),
        }
    };
    let full = theta("full_attention", "global_rope_theta", 160_000.0)?;
    Ok([full, theta("sliding_attention", "local_rope_theta", 10_000.0)?])
}
