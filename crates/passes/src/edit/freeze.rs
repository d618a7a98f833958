//! Chooses what trains.
//!
//! ```text
//! embeddings* -> layer 0* -> layer 1* -> head*     =>     embeddings -> layer 0 -> layer 1* -> head*
//!                                                         (LastLayers(1); * = trainable)
//! ```

use super::{HEAD_PREFIX, layer_of, num_layers, parameters};
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Graph, Model, Patch, ValueId};

/// What stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezePolicy {
    /// Nothing: every parameter trains.
    Nothing,
    /// All but the head and this many layers before it.
    LastLayers(usize),
    /// All but the head.
    HeadOnly,
}

/// Marks parameters as trainable or frozen; the outputs stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze {
    /// What trains afterwards.
    pub train: FreezePolicy,
}

impl Edit for Freeze {
    fn name(&self) -> &'static str {
        "freeze"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Exact
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let graph = &model.graph;
        let first_layer = match self.train {
            FreezePolicy::Nothing => None,
            FreezePolicy::HeadOnly => Some(usize::MAX),
            FreezePolicy::LastLayers(count) => Some(first_trainable_layer(graph, count)?),
        };
        let parameters = parameters(graph);
        let trains = |id: ValueId| {
            let name = &graph.value(id).name;
            let after = |first| layer_of(name).is_some_and(|layer| layer >= first);
            first_layer.is_none_or(|first| name.starts_with(HEAD_PREFIX) || after(first))
        };
        if !parameters.iter().any(|id| trains(*id)) {
            return Err(PassError::refused(format!(
                "nothing would train: the model has no head (parameters named \"{HEAD_PREFIX}*\"); give it one first"
            )));
        }
        let mut patch = Patch::new(graph);
        for (id, initializer) in graph.initializers() {
            let wanted = parameters.binary_search(&id).is_ok() && trains(id);
            if initializer.trainable != wanted {
                patch.set_trainable(id, wanted);
            }
        }
        Ok(patch)
    }
}

fn first_trainable_layer(graph: &Graph, count: usize) -> Result<usize, PassError> {
    let layers = num_layers(graph);
    match layers.checked_sub(count) {
        Some(first) if count > 0 => Ok(first),
        _ => Err(PassError::refused(format!(
            "the last {count} layers cannot train: the model has {layers}; choose from 1 to {layers}"
        ))),
    }
}
