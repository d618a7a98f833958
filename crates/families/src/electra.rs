//! The discriminator of ELECTRA (Clark et al. 2020): BERT whose embeddings may be shorter than its hidden
//! vectors.
//!
//! A generator has the same `model_type`; its tensors are named as left over, for it is not what one
//! fine-tunes.

use crate::{
    ANCHOR, Encoder, Family, FamilyError,
    config::Config,
    transformer::{Keys, LayerNames, Positions, Sizes, Transformer},
    weights::Weights,
};

pub(crate) const FAMILY: Family = Family { names: &["electra"], prefix: PREFIX, build };

/// Before the names of the encoder, where a head stands beside it.
const PREFIX: &str = "electra.";

/// Buffers and the heads of other tasks.
const IGNORED: [&str; 5] =
    ["embeddings.position_ids", "discriminator_predictions.", "classifier.", "qa_outputs.", "dropout."];

fn build(config: &Config, mut weights: Weights) -> Result<Encoder, FamilyError> {
    config.require(&["embedding_size"])?;
    let sizes = Sizes { embedding: config.size("embedding_size")?, ..Sizes::read(config, &Keys::BERT)? };
    weights.refuse("generator_");
    weights.root_at(ANCHOR, PREFIX);

    let mut electra = Transformer::new("electra", sizes, weights);
    let mut embedded = electra.embeddings(Positions::FromZero);
    if sizes.embedding != sizes.hidden {
        embedded = electra.linear("embeddings_project", embedded, sizes.embedding, sizes.hidden);
    }
    let hidden = electra.layers(&LayerNames::BERT, embedded, None);
    electra.finish(hidden, &IGNORED, sizes.positions)
}
