use crate::FamilyError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A `config.json` that remembers which of its keys were read.
pub(crate) struct Config {
    path: PathBuf,
    values: Map<String, Value>,
    read: RefCell<BTreeSet<String>>,
}

/// Keys that say nothing about the encoder's graph.
const IRRELEVANT: [&str; 48] = [
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "bos_token_id",
    "classifier_activation",
    "classifier_bias",
    "classifier_dropout",
    "cls_token_id",
    "decoder_bias",
    "deterministic_flash_attn",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "initializer_cutoff_factor",
    "initializer_range",
    "label2id",
    "legacy",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pad_token_id",
    "pooler_dropout",
    "pooler_fc_size",
    "pooler_hidden_act",
    "pooler_hidden_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "problem_type",
    "qa_dropout",
    "reference_compile",
    "repad_logits_with_grad",
    "sep_token_id",
    "seq_classif_dropout",
    "sparse_pred_ignore_index",
    "sparse_prediction",
    "summary_activation",
    "summary_last_dropout",
    "summary_type",
    "summary_use_proj",
    "tie_weights_",
    "tie_word_embeddings",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

impl Config {
    /// Reads a JSON object.
    pub(crate) fn read(path: &Path) -> Result<Self, FamilyError> {
        let text =
            std::fs::read(path).map_err(|source| FamilyError::Read { path: path.to_owned(), source })?;
        let values = serde_json::from_slice(&text)
            .map_err(|source| FamilyError::Json { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), values, read: RefCell::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails with every one of `keys` that is not there.
    pub(crate) fn require(&self, keys: &[&str]) -> Result<(), FamilyError> {
        let missing: Vec<String> = keys
            .iter()
            .filter(|key| !self.values.contains_key(**key))
            .map(|key| format!("\"{key}\""))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(FamilyError::MissingKeys { path: self.path.clone(), keys: missing.join(", ") })
    }

    /// A value that must be there.
    pub(crate) fn required<T: DeserializeOwned>(&self, key: &str) -> Result<T, FamilyError> {
        self.require(&[key])?;
        match self.optional(key)? {
            Some(value) => Ok(value),
            None => Err(self.bad(key, "a value, not null")),
        }
    }

    /// A value that may be missing or null.
    pub(crate) fn optional<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, FamilyError> {
        self.read.borrow_mut().insert(key.to_owned());
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|error| {
                let full = error.to_string();
                let expected = full.split("expected ").nth(1).unwrap_or("of another type");
                self.bad(key, expected)
            }),
        }
    }

    /// A size of at least one.
    pub(crate) fn size(&self, key: &str) -> Result<usize, FamilyError> {
        /// Beyond every real model, and small enough that products of two sizes cannot overflow.
        const LARGEST: usize = 1 << 30;
        match self.required::<usize>(key)? {
            size @ 1..=LARGEST => Ok(size),
            _ => Err(self.bad(key, "a whole number from 1 to 2^30")),
        }
    }

    /// A probability below one; `default` when it is not given.
    pub(crate) fn probability(&self, key: &str, default: f32) -> Result<f32, FamilyError> {
        match self.optional::<f32>(key)? {
            None => Ok(default),
            Some(value) if (0.0..1.0).contains(&value) => Ok(value),
            Some(_) => Err(self.bad(key, "at least 0 and below 1")),
        }
    }

    /// The error for a value that is there but not usable.
    pub(crate) fn bad(&self, key: &str, expected: &str) -> FamilyError {
        FamilyError::BadValue {
            path: self.path.clone(),
            key: key.to_owned(),
            value: self.values.get(key).map_or_else(|| "missing".to_owned(), Value::to_string),
            expected: expected.to_owned(),
        }
    }

    /// Keys that nobody asked for and that might matter.
    pub(crate) fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let unread = |key: &&String| !read.contains(*key) && !IRRELEVANT.contains(&key.as_str());
        self.values.keys().filter(unread).cloned().collect()
    }
}
