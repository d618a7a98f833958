//! Answers that need no computing: of a text that was answered before, and of one that is being answered right now.
//!
//! The key is the version and the text as it came, not its tokens: places of entities and what drift is watched by are
//! of the text, and the same tokens can come from several.

use std::{mem::size_of, sync::Arc};

use prometheus::{IntCounterVec, IntGauge, Opts};
use quick_cache::{
    Weighter,
    sync::{Cache, PlaceholderGuard},
};
use refit_metrics::Registry;
use refit_predictor::{Answer, Prediction};
use sha2::{Digest, Sha256};

use crate::{job::Text, loaded::LoadedModel};

/// What answers are found by: which version, loaded when, and the digest of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    load: u64,
    text: [u8; 32],
}

/// Answers by content, bounded in bytes.
pub(crate) struct Answers {
    cache: Cache<Key, Arc<Prediction>, Bytes>,
    metrics: CacheMetrics,
}

/// What was computed, and what was found.
pub(crate) struct CacheMetrics {
    texts: IntCounterVec,
    bytes: IntGauge,
}

impl CacheMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let texts = IntCounterVec::new(
            Opts::new(
                "refit_cache_texts_total",
                "Texts by how they came by their answer: computed, or found (also one that was under way).",
            ),
            &["model", "outcome"],
        )?;
        let held = IntGauge::new("refit_cache_bytes", "Memory of the answers that are kept.")?;
        registry.register(Box::new(texts.clone()))?;
        registry.register(Box::new(held.clone()))?;
        Ok(Self { texts, bytes: held })
    }
}

/// Who is to compute an answer that others may wait for. Dropped without an answer, it passes to one of them.
pub(crate) type Duty<'a> =
    PlaceholderGuard<'a, Key, Arc<Prediction>, Bytes, quick_cache::DefaultHashBuilder, Lifecycle>;

type Lifecycle = quick_cache::sync::DefaultLifecycle<Key, Arc<Prediction>>;

/// Weighs an answer by the memory that it holds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Bytes;

impl Weighter<Key, Arc<Prediction>> for Bytes {
    fn weight(&self, _key: &Key, prediction: &Arc<Prediction>) -> u64 {
        /// Of the cache's own, about.
        const ENTRY: usize = 64;
        let numbers = prediction.logits.len() + prediction.embedding.len();
        let answer = match &prediction.answer {
            Answer::Class { probabilities, .. } => size_of::<f32>() * probabilities.len(),
            Answer::Labels { labels, probabilities } => {
                size_of::<Arc<str>>() * labels.len() + size_of::<f32>() * probabilities.len()
            }
            Answer::Number(_) => 0,
            Answer::Entities { .. } | Answer::Span(_) => prediction.answer.short().len() * 4,
            Answer::Vector(values) => size_of::<f32>() * values.len(),
        };
        let projections = size_of::<f64>() * prediction.observation.projections.len();
        let held = size_of::<Prediction>() + size_of::<f32>() * numbers + answer + projections;
        (ENTRY + size_of::<Key>() + held) as u64
    }
}

/// How an answer is come by.
pub(crate) enum Found<'a> {
    /// It is there.
    Answer(Arc<Prediction>),
    /// It is to be computed.
    Duty(Duty<'a>),
}

impl Answers {
    /// Keeps up to `bytes` of answers; with 0 only concurrent requests for the same text share one.
    pub fn new(bytes: u64, metrics: CacheMetrics) -> Self {
        /// What an answer of a classifier weighs, about.
        const USUAL: u64 = 2048;
        let items = usize::try_from(bytes / USUAL).unwrap_or(usize::MAX).clamp(32, 1 << 20);
        Self { cache: Cache::with_weighter(items, bytes, Bytes), metrics }
    }

    /// Waits for the answer if another request computes it.
    pub async fn find(&self, model: &LoadedModel, text: &Text) -> Found<'_> {
        let key = Key { load: model.load, text: digest(text) };
        let outcome = |outcome: &str| self.metrics.texts.with_label_values(&[&*model.name, outcome]).inc();
        match self.cache.get_value_or_guard_async(&key).await {
            Ok(prediction) => {
                outcome("found");
                Found::Answer(prediction)
            }
            Err(duty) => {
                outcome("computed");
                Found::Duty(duty)
            }
        }
    }

    /// Gives an answer to those who wait for it, and keeps it.
    pub fn fulfil(&self, duty: Duty<'_>, prediction: &Arc<Prediction>) {
        // One that does not fit is given and not kept.
        let _ = duty.insert(Arc::clone(prediction));
        self.metrics.bytes.set(i64::try_from(self.cache.weight()).unwrap_or(i64::MAX));
    }
}

fn digest(text: &Text) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The length keeps a text and its pair apart from the same letters divided elsewhere.
    hash.update(text.text.len().to_le_bytes());
    hash.update(&text.text);
    if let Some(pair) = &text.pair {
        hash.update([1]);
        hash.update(pair);
    }
    if let Some(tokens) = &text.tokens {
        hash.update([2]);
        for list in [&tokens.input_ids, &tokens.attention_mask, &tokens.token_type_ids] {
            hash.update(list.len().to_le_bytes());
            list.iter().for_each(|number| hash.update(number.to_le_bytes()));
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_pairs_are_told_apart() {
        let text = |text: &str, pair: Option<&str>| digest(&Text::new(text.into(), pair.map(Into::into)));
        let all = [
            text("ab", None),
            text("ab", Some("")),
            text("a", Some("b")),
            text("", Some("ab")),
            text("a\u{1}b", None),
        ];
        for (place, one) in all.iter().enumerate() {
            assert!(!all[place + 1..].contains(one), "{place}");
        }
        assert_eq!(text("a", Some("b")), text("a", Some("b")));
    }
}
