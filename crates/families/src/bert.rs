//! BERT (Devlin et al. 2018) as Hugging Face stores it, without its pooler.

use crate::{
    ANCHOR, Encoder, Family, FamilyError,
    config::Config,
    transformer::{Keys, LayerNames, Positions, Sizes, Transformer},
    weights::Weights,
};

pub(crate) const FAMILY: Family = Family { names: &["bert"], prefix: PREFIX, build };

/// Before the names of the encoder, where a head stands beside it.
const PREFIX: &str = "bert.";

/// Tensors of checkpoints that the encoder does not need: buffers and the heads of other tasks.
const IGNORED: [&str; 6] =
    ["embeddings.position_ids", "pooler.", "cls.", "classifier.", "qa_outputs.", "dropout."];

fn build(config: &Config, mut weights: Weights) -> Result<Encoder, FamilyError> {
    let sizes = Sizes::read(config, &Keys::BERT)?;
    weights.root_at(ANCHOR, PREFIX);
    // Old TensorFlow checkpoints name the parameters of LayerNorm so; Hugging Face renames them too.
    weights.rename_suffix(".LayerNorm.gamma", ".LayerNorm.weight");
    weights.rename_suffix(".LayerNorm.beta", ".LayerNorm.bias");

    let mut bert = Transformer::new("bert", sizes, weights);
    let embedded = bert.embeddings(Positions::FromZero);
    let hidden = bert.layers(&LayerNames::BERT, embedded, None);
    bert.finish(hidden, &IGNORED, sizes.positions)
}
