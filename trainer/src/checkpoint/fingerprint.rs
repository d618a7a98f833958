//! What a run is made of: a checkpoint is taken up by a run of the same spec, rows and first weights only.

use crate::TrainError;
use crate::examples::{Example, Examples};
use refit_graph::Model;
use refit_spec::Spec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Everything that decides what a training makes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The keys of the spec that matter.
    spec: BTreeMap<String, String>,
    /// Of the rows as tokens, with what is to be learned of them.
    rows: String,
    /// Of the weights that training starts from.
    weights: String,
    /// Threads in use: another number rounds differently.
    threads: usize,
}

impl Fingerprint {
    /// Of a run that trains `model` on these rows.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn of(
        spec: &Spec,
        train: &Examples,
        validation: &[Example],
        model: &Model,
    ) -> Result<Self, TrainError> {
        let mut rows = Sha256::new();
        rows.update((train.len() as u64).to_le_bytes());
        for example in train.iter() {
            add(&mut rows, &example?);
        }
        rows.update((validation.len() as u64).to_le_bytes());
        validation.iter().for_each(|example| add(&mut rows, example));
        let mut weights = Sha256::new();
        for (id, initializer) in model.graph.initializers() {
            weights.update(model.graph.value(id).name.as_bytes());
            weights.update(initializer.tensor.bytes());
        }
        Ok(Self {
            spec: spec.training_keys(),
            rows: hex::encode(rows.finalize()),
            weights: hex::encode(weights.finalize()),
            threads: spec.train.threads.unwrap_or_else(rayon::current_num_threads),
        })
    }

    /// Why a run with this fingerprint must not go on from a checkpoint with the fingerprint `kept`.
    pub fn differs_from(&self, kept: &Self) -> Option<String> {
        let shown = |value: Option<&String>| value.map_or("not there", String::as_str).to_owned();
        for key in self.spec.keys().chain(kept.spec.keys()) {
            let (now, then) = (self.spec.get(key), kept.spec.get(key));
            if now != then {
                return Some(format!("{key} was {} and is {}", shown(then), shown(now)));
            }
        }
        if self.rows != kept.rows {
            return Some("the rows are others".to_owned());
        }
        (self.weights != kept.weights).then(|| "the weights that training starts from are others".to_owned())
    }

    /// Whether the same number of threads computes: only then are the results the same bits.
    pub fn has_threads_of(&self, kept: &Self) -> bool {
        self.threads == kept.threads
    }
}

fn add(rows: &mut Sha256, example: &Example) {
    for text in &example.texts {
        let tokens = &text.encoding.input_ids;
        rows.update((tokens.len() as u64).to_le_bytes());
        tokens.iter().for_each(|token| rows.update(token.to_le_bytes()));
    }
    rows.update(format!("{:?};", example.target));
}
