//! DeBERTa-v2 (He et al. 2020) and v3 (He et al. 2021), which has the same architecture: attention whose scores
//! add up what tokens and their distances say of each other, and in some checkpoints a convolution beside the
//! first layer.
//!
//! ```text
//! score[q, k] = (Q[q] K[k] + Q[q] PK[d(q, k)] + K[k] PQ[d(q, k)]) / sqrt(width * terms)
//! d(q, k)     = span + bucket(q - k), within the 2 span rows of the table of distances
//! PK, PQ      = the table of distances through projections of its own, or through those of keys and queries
//! ```
//!
//! These scores have no form in which a fused attention could take them, so that they are made of standard
//! operators; without distances the fused one is used.

use crate::{
    ANCHOR, Encoder, Family, FamilyError,
    config::Config,
    transformer::{Bias, Keys, LayerNames, Positions, Sizes, Transformer},
    weights::Weights,
};
use refit_graph::{Attribute, ValueId};

mod settings;
use settings::{Convolution, Distances, Settings};

pub(crate) const FAMILY: Family = Family { names: &["deberta-v2"], prefix: PREFIX, build };

/// Before the names of the encoder, where a head stands beside it.
const PREFIX: &str = "deberta.";

const KEYS: Keys = Keys { types: None, ..Keys::BERT };

const LAYER: LayerNames = LayerNames {
    query: "attention.self.query_proj",
    key: "attention.self.key_proj",
    value: "attention.self.value_proj",
    ..LayerNames::BERT
};

/// Buffers and the heads of other tasks; v3's checkpoints carry both of those it was pretrained with.
const IGNORED: [&str; 9] = [
    "embeddings.position_ids",
    "embeddings.position_embeddings",
    "pooler.",
    "cls.",
    "lm_predictions.",
    "mask_predictions.",
    "classifier.",
    "qa_outputs.",
    "dropout.",
];

struct Deberta {
    net: Transformer,
    settings: Settings,
}

/// What all layers share of the distances.
#[derive(Clone, Copy)]
struct Table {
    /// float32 `[2 span, hidden]`.
    rows: ValueId,
    /// The row for each query and key, and for each key and query: i64 `[B, heads, S, S]`.
    by_query: ValueId,
    by_key: ValueId,
}

fn build(config: &Config, mut weights: Weights) -> Result<Encoder, FamilyError> {
    config.require(&["layer_norm_eps"])?;
    let sizes = Sizes::read(config, &KEYS)?;
    let embedding = match config.optional::<usize>("embedding_size")? {
        Some(_) => config.size("embedding_size")?,
        None => sizes.hidden,
    };
    let types = match config.optional::<usize>("type_vocab_size")? {
        None | Some(0) => 0,
        Some(_) => config.size("type_vocab_size")?,
    };
    let sizes = Sizes { embedding, types, ..sizes };
    let settings = Settings::read(config, &sizes)?;
    weights.root_at(ANCHOR, PREFIX);

    let mut deberta = Deberta { net: Transformer::new("deberta", sizes, weights), settings };
    let hidden = deberta.encoder();
    deberta.net.finish(hidden, &IGNORED, sizes.positions)
}

impl Deberta {
    fn encoder(&mut self) -> ValueId {
        let sizes = self.net.sizes;
        let embedded = self.embeddings();
        let table = self.settings.distances.clone().map(|distances| self.table(&distances));
        let mut x = embedded;
        for index in 0..sizes.layers {
            x = self.layer(index, x, table);
            if let (0, Some(convolution)) = (index, self.settings.convolution.clone()) {
                x = self.convolved(&convolution, embedded, x);
            }
        }
        x
    }

    fn embeddings(&mut self) -> ValueId {
        let sizes = self.net.sizes;
        let positions =
            if self.settings.absolute_positions { Positions::FromZero } else { Positions::Without };
        let mut sum = self.net.looked_up(positions);
        if sizes.embedding != sizes.hidden {
            let widths = [sizes.embedding, sizes.hidden];
            sum = self.net.linear_with("embeddings.embed_proj", sum, widths, Bias::Without);
        }
        let mut normed = self.net.layer_norm("embeddings.LayerNorm", sum, sizes.hidden);
        if self.settings.convolution.is_some() {
            // Attentions do not see padding, but the convolution would.
            let mask = self.net.attention_mask();
            let kept = self.net.float("embeddings.mask", mask);
            let last = self.net.integers("embeddings.last_axis", &[-1]);
            let kept = self.net.standard("Unsqueeze", "embeddings.mask_of_tokens", &[kept, last]);
            normed = self.net.standard("Mul", "embeddings.tokens", &[normed, kept]);
        }
        self.net.dropout("embeddings.dropout", normed, sizes.dropout)
    }

    fn layer(&mut self, index: usize, x: ValueId, table: Option<Table>) -> ValueId {
        let hidden = self.net.sizes.hidden;
        let name = |part: &str| format!("{}.{index}.{part}", LAYER.layers);
        let projections =
            [LAYER.query, LAYER.key, LAYER.value].map(|part| self.net.linear(&name(part), x, hidden, hidden));
        let attended = match (table, self.settings.distances.clone()) {
            (Some(table), Some(distances)) => {
                self.disentangled(&name("attention.self"), projections, table, &distances)
            }
            _ => {
                let context = name("attention.self.context");
                self.net.scaled_attention(&context, projections, None, self.settings.scale)
            }
        };
        self.net.after_attention(&LAYER, index, x, attended)
    }

    /// The table of distances and its rows for all pairs of a text.
    fn table(&mut self, distances: &Distances) -> Table {
        let sizes = self.net.sizes;
        let name = |part: &str| format!("encoder.relative_{part}");
        let net = &mut self.net;
        let span = distances.span as i64;
        let mut rows = net.parameter("encoder.rel_embeddings.weight", &[2 * distances.span, sizes.hidden]);
        if distances.normalized {
            rows = net.layer_norm("encoder.LayerNorm", rows, sizes.hidden);
        }
        // Of a query and a key, which `of_distances` takes the other way round.
        let row = |key_from_query: i64| (distances.bucket(-key_from_query) + span).clamp(0, 2 * span - 1);
        let by_query = net.of_distances(&name(""), sizes.positions, row);
        let by_key = net.transpose(&name("transposed"), by_query, &[1, 0]);

        let mask = net.attention_mask();
        let batch_and_length = net.standard("Shape", &name("batch_and_length"), &[mask]);
        let length = net.sequence(&name("length"), mask);
        let [zero, one] = [0, 1].map(|at| net.integers(&name("at"), &[at]));
        let batch = net.standard("Slice", &name("batch"), &[batch_and_length, zero, one]);
        let heads = net.integers(&name("heads"), &[sizes.heads as i64]);
        let first = [("axis", Attribute::Int(0))];
        let shape = net.standard_with("Concat", &name("shape"), &[batch, heads, length, length], first);
        let by_query = net.standard("Expand", &name("by_query"), &[by_query, shape]);
        let by_key = net.standard("Expand", &name("by_key"), &[by_key, shape]);
        Table { rows, by_query, by_key }
    }

    fn disentangled(
        &mut self,
        name: &str,
        projections: [ValueId; 3],
        table: Table,
        distances: &Distances,
    ) -> ValueId {
        let sizes = self.net.sizes;
        let part = |part: &str| format!("{name}.{part}");
        let [query, key, value] = [("query", 0), ("key", 1), ("value", 2)]
            .map(|(what, index)| self.by_head(&part(what), projections[index]));
        let turned = self.net.transpose(&part("key_turned"), key, &[0, 1, 3, 2]);
        let mut scores = self.net.standard("MatMul", &part("scores"), &[query, turned]);
        if distances.content_to_position || distances.position_to_content {
            let rows = self.net.dropout(&part("pos_dropout"), table.rows, sizes.dropout);
            let module = |own: &str, shared: &str| if distances.shared { part(shared) } else { part(own) };
            if distances.content_to_position {
                let projection = module("pos_key_proj", "key_proj");
                let said = self.of_rows(&projection, query, rows, table.by_query);
                scores = self.net.standard("Add", &part("with_positions_of_keys"), &[scores, said]);
            }
            if distances.position_to_content {
                let projection = module("pos_query_proj", "query_proj");
                let said = self.of_rows(&projection, key, rows, table.by_key);
                let said = self.net.transpose(&part("by_query"), said, &[0, 1, 3, 2]);
                scores = self.net.standard("Add", &part("with_positions_of_queries"), &[scores, said]);
            }
        }
        let scale = self.net.number(&part("scale"), self.settings.scale);
        let scores = self.net.standard("Mul", &part("scaled"), &[scores, scale]);
        let mask = self.net.additive();
        let scores = self.net.standard("Add", &part("masked"), &[scores, mask]);
        let last = [("axis", Attribute::Int(-1))];
        let probabilities = self.net.standard_with("Softmax", &part("probabilities"), &[scores], last);
        let mixed = self.net.standard("MatMul", &part("mixed"), &[probabilities, value]);
        let mixed = self.net.transpose(&part("by_position"), mixed, &[0, 2, 1, 3]);
        let merge = self.net.integers(&part("merge"), &[0, 0, sizes.hidden as i64]);
        self.net.standard("Reshape", &part("context"), &[mixed, merge])
    }

    /// `[B, S, hidden]` -> `[B, heads, S, width]`.
    fn by_head(&mut self, name: &str, x: ValueId) -> ValueId {
        let sizes = self.net.sizes;
        let shape = [0, 0, sizes.heads as i64, (sizes.hidden / sizes.heads) as i64];
        let shape = self.net.integers(&format!("{name}_split"), &shape);
        let split = self.net.standard("Reshape", &format!("{name}_heads"), &[x, shape]);
        self.net.transpose(&format!("{name}_by_head"), split, &[0, 2, 1, 3])
    }

    /// What the vectors `[B, heads, S, width]` say of the row `[B, heads, S, S]` that stands for each pair.
    fn of_rows(&mut self, module: &str, vectors: ValueId, rows: ValueId, index: ValueId) -> ValueId {
        let sizes = self.net.sizes;
        let name = |part: &str| format!("{module}.{part}");
        let projected = self.net.linear(module, rows, sizes.hidden, sizes.hidden);
        let shape = [-1, sizes.heads as i64, (sizes.hidden / sizes.heads) as i64];
        let shape = self.net.integers(&name("split"), &shape);
        let split = self.net.standard("Reshape", &name("rows_split"), &[projected, shape]);
        let by_head = self.net.transpose(&name("rows_by_head"), split, &[1, 2, 0]);
        let all = self.net.standard("MatMul", &name("of_all_rows"), &[vectors, by_head]);
        let last = [("axis", Attribute::Int(-1))];
        self.net.standard_with("GatherElements", &name("of_pairs"), &[all, index], last)
    }

    /// `LayerNorm(y + activation(Dropout(convolution over the embeddings)))`.
    fn convolved(&mut self, convolution: &Convolution, embedded: ValueId, y: ValueId) -> ValueId {
        let sizes = self.net.sizes;
        let name = |part: &str| format!("encoder.conv.{part}");
        let net = &mut self.net;
        let (kernel, groups) = (convolution.kernel, convolution.groups);
        let weight = net.parameter(&name("conv.weight"), &[sizes.hidden, sizes.hidden / groups, kernel]);
        let bias = net.parameter(&name("conv.bias"), &[sizes.hidden]);
        let side = ((kernel - 1) / 2) as i64;
        let attributes = [
            ("kernel_shape", Attribute::Ints(vec![kernel as i64])),
            ("pads", Attribute::Ints(vec![side; 2])),
            ("group", Attribute::Int(groups as i64)),
        ];
        let channels = net.transpose(&name("by_channel"), embedded, &[0, 2, 1]);
        let made = net.standard_with("Conv", &name("conv"), &[channels, weight, bias], attributes);
        let made = net.transpose(&name("by_token"), made, &[0, 2, 1]);
        let dropped = net.dropout(&name("dropout"), made, sizes.dropout);
        let active = match convolution.tanh {
            true => net.standard("Tanh", &name("active"), &[dropped]),
            false => net.gelu(&name("active"), dropped),
        };
        let sum = net.standard("Add", &name("sum"), &[y, active]);
        net.layer_norm(&name("LayerNorm"), sum, sizes.hidden)
    }
}
