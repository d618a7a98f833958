//! What the encoders of BERT's kind share, block by block: a family says what it calls the parts, and what
//! is different in it.
//!
//! ```text
//! input_ids ----> word table ---------+
//! token_type_ids > type table --------+-> LayerNorm -> Dropout -> layer 0 -> ... -> last_hidden_state
//! positions ----> position table -----+
//! attention_mask -> 0 where a token is, the lowest float32 where padding is --> every attention
//! ```
//!
//! The probabilities of an attention are not dropped out (attention is one fused operator): that setting is
//! reported among [`crate::Base::ignored_settings`].

mod embeddings;
mod layer;
mod nodes;
mod relative;
mod sizes;

pub(crate) use embeddings::Positions;
pub(crate) use layer::LayerNames;
pub(crate) use nodes::Bias;
pub(crate) use sizes::{Keys, Sizes};

use crate::{Encoder, FamilyError, HIDDEN_STATE, Pooling, weights::Weights};
use refit_graph::{DType, Dim, Fact, Graph, Model, Patch, REFIT_DOMAIN, ValueId};
use std::collections::HashMap;

const OPSET: i64 = 17;

/// An encoder that is being built.
pub(crate) struct Transformer {
    graph: Graph,
    patch: Patch,
    weights: Weights,
    /// Parameters that were taken from the weights already, by name.
    taken: HashMap<String, ValueId>,
    pub(crate) sizes: Sizes,
    inputs: Inputs,
    /// Additive, float32 `[B, 1, 1, S]`.
    mask: ValueId,
}

#[derive(Clone, Copy)]
struct Inputs {
    ids: ValueId,
    mask: ValueId,
    types: Option<ValueId>,
}

impl Transformer {
    /// The inputs and the mask. `token_type_ids` are an input where there is more than one type.
    pub(crate) fn new(name: &str, sizes: Sizes, weights: Weights) -> Self {
        let mut graph = Graph::new(name);
        let ids = || Fact::new(DType::I64, [Dim::from("batch"), Dim::from("sequence")]);
        let inputs = Inputs {
            ids: graph.add_input("input_ids", ids()),
            mask: graph.add_input("attention_mask", ids()),
            types: (sizes.types > 1).then(|| graph.add_input("token_type_ids", ids())),
        };
        let mut transformer = Self {
            patch: Patch::new(&graph),
            graph,
            weights,
            taken: HashMap::new(),
            sizes,
            inputs,
            mask: inputs.mask,
        };
        transformer.mask = transformer.additive_mask();
        transformer
    }

    /// The encoder whose result is `hidden`. Tensors of the file that begin with one of `ignored` are
    /// buffers or belong to the head of another task.
    pub(crate) fn finish(
        self,
        hidden: ValueId,
        ignored: &[&str],
        max_length: usize,
    ) -> Result<Encoder, FamilyError> {
        let Self { mut graph, mut patch, weights, sizes, .. } = self;
        let unused = weights.finish(ignored)?;
        patch.set_outputs(vec![hidden]);
        patch.rename(hidden, HIDDEN_STATE);
        let dims = [Dim::from("batch"), Dim::from("sequence"), Dim::from(sizes.hidden)];
        patch.set_fact(hidden, Fact::new(DType::F32, dims));
        patch.apply(&mut graph)?;

        let mut model = Model::new(graph, OPSET);
        model.opsets.insert(REFIT_DOMAIN.to_owned(), 1);
        Ok(Encoder {
            model,
            hidden_size: sizes.hidden,
            num_layers: sizes.layers,
            max_length,
            // All of them classify a text by its first token.
            pooling: Pooling::Cls,
            unused,
        })
    }
}
