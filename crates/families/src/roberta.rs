//! RoBERTa (Liu et al. 2019), and what has its architecture and its names: XLM-RoBERTa (Conneau et al.
//! 2020) and CamemBERT (Martin et al. 2020). BERT whose positions count tokens from after the padding id.

use crate::{
    ANCHOR, Encoder, Family, FamilyError,
    config::Config,
    transformer::{Keys, LayerNames, Positions, Sizes, Transformer},
    weights::Weights,
};

pub(crate) const FAMILY: Family =
    Family { names: &["roberta", "xlm-roberta", "camembert"], prefix: PREFIX, build };

/// Before the names of the encoder, where a head stands beside it.
const PREFIX: &str = "roberta.";

/// Buffers and the heads of other tasks.
const IGNORED: [&str; 7] = [
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    "pooler.",
    "lm_head.",
    "classifier.",
    "qa_outputs.",
    "dropout.",
];

fn build(config: &Config, mut weights: Weights) -> Result<Encoder, FamilyError> {
    let sizes = Sizes::read(config, &Keys::BERT)?;
    let padding = config.optional::<usize>("pad_token_id")?.unwrap_or(1);
    if padding >= sizes.vocabulary {
        return Err(config.bad("pad_token_id", &format!("below vocab_size ({})", sizes.vocabulary)));
    }
    let max_length = sizes.length_after(padding, config)?;
    weights.root_at(ANCHOR, PREFIX);

    let mut roberta = Transformer::new("roberta", sizes, weights);
    let embedded = roberta.embeddings(Positions::AfterPadding(padding));
    let hidden = roberta.layers(&LayerNames::BERT, embedded, None);
    roberta.finish(hidden, &IGNORED, max_length)
}
