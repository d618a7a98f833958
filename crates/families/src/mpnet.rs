//! MPNet (Song et al. 2020): RoBERTa's positions, no token types, and a bias on the scores of every
//! attention that depends on the distance between two tokens.
//!
//! ```text
//! 0..S -> key - query [S, S] -> bucket [S, S] -> relative_attention_bias[32, heads] -> [heads, S, S]
//! ```

use crate::{
    ANCHOR, Encoder, Family, FamilyError,
    config::Config,
    transformer::{Keys, LayerNames, Positions, Sizes, Transformer},
    weights::Weights,
};
use refit_graph::ValueId;

pub(crate) const FAMILY: Family = Family { names: &["mpnet"], prefix: PREFIX, build };

/// Before the names of the encoder, where a head stands beside it.
const PREFIX: &str = "mpnet.";

const KEYS: Keys = Keys { types: None, ..Keys::BERT };

const LAYER: LayerNames = LayerNames {
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    context: "attention.attn.o",
    context_norm: "attention.LayerNorm",
    ..LayerNames::BERT
};

/// Buffers and the heads of other tasks.
const IGNORED: [&str; 5] = ["embeddings.position_ids", "pooler.", "lm_head.", "classifier.", "qa_outputs."];

/// `transformers` takes this id for padding, whatever `pad_token_id` says.
const PADDING: usize = 1;

/// `transformers` computes this many, whatever the table has.
const BUCKETS: usize = 32;

fn build(config: &Config, mut weights: Weights) -> Result<Encoder, FamilyError> {
    let sizes = Sizes::read(config, &KEYS)?;
    if config.optional::<usize>("relative_attention_num_buckets")?.is_some_and(|count| count != BUCKETS) {
        return Err(config.bad("relative_attention_num_buckets", "32: it is what transformers computes"));
    }
    let max_length = sizes.length_after(PADDING, config)?;
    weights.root_at(ANCHOR, PREFIX);

    let mut mpnet = Transformer::new("mpnet", sizes, weights);
    let embedded = mpnet.embeddings(Positions::AfterPadding(PADDING));
    let bias = relative_bias(&mut mpnet, max_length);
    let hidden = mpnet.layers(&LAYER, embedded, Some(bias));
    mpnet.finish(hidden, &IGNORED, max_length)
}

/// float32 `[heads, S, S]`. The bucket of each distance is looked up, so that no engine's logarithm decides
/// at their borders.
fn relative_bias(mpnet: &mut Transformer, max_length: usize) -> ValueId {
    let name = |part: &str| format!("encoder.relative_{part}");
    let table = mpnet.parameter("encoder.relative_attention_bias.weight", &[BUCKETS, mpnet.sizes.heads]);
    let buckets = mpnet.of_distances(&name(""), max_length, bucket);
    let bias = mpnet.standard("Gather", &name("bias_of_pairs"), &[table, buckets]);
    mpnet.transpose(&name("bias"), bias, &[2, 0, 1])
}

/// The bucket of `key - query`: 16 for each direction, of them 8 for a distance each and 8 that grow by a
/// factor of sqrt(2) up to a distance of 128.
fn bucket(distance: i64) -> i64 {
    let (near, each) = (8, 16);
    let away = distance.abs();
    let within = match away / near {
        0 => away,
        // floor(2 log2(away / 8)), in integers.
        _ => (near + i64::from((away * away / (near * near)).ilog2())).min(each - 1),
    };
    if distance > 0 { each + within } else { within }
}

#[cfg(test)]
mod tests {
    use super::bucket;
    use serde_json::Value;

    #[test]
    fn buckets_are_those_of_transformers() {
        let reference: Value =
            serde_json::from_str(include_str!("../tests/data/tiny-mpnet/expected.json")).unwrap();
        let expected: Vec<i64> = serde_json::from_value(reference["buckets"].clone()).unwrap();
        let furthest = expected.len() as i64 / 2;
        assert!(furthest > 128);
        assert_eq!((-furthest..=furthest).map(bucket).collect::<Vec<_>>(), expected);
    }
}
