//! What one request may ask: how many texts, how long each, and how many tokens; and how much is asked.

use prometheus::{HistogramOpts, HistogramVec};
use refit_metrics::Registry;
use refit_preprocess::Window;
use refit_spec::LimitsSpec;

use crate::{
    api_error::{ApiError, Code},
    job::Text,
};

/// The bounds of a request, and the sizes of those that came.
pub(crate) struct Limits {
    spec: LimitsSpec,
    texts: HistogramVec,
    tokens: HistogramVec,
}

impl Limits {
    pub fn register(spec: &LimitsSpec, registry: &Registry) -> Result<Self, prometheus::Error> {
        let sizes = |name: &str, help: &str, most: i32| -> Result<HistogramVec, prometheus::Error> {
            let buckets = (0..=most).map(|power| f64::from(1 << power)).collect();
            let sizes = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), &["model"])?;
            registry.register(Box::new(sizes.clone()))?;
            Ok(sizes)
        };
        Ok(Self {
            spec: spec.clone(),
            texts: sizes("refit_request_texts", "Texts in one request.", 10)?,
            tokens: sizes("refit_text_tokens", "Tokens of one text, special tokens included.", 13)?,
        })
    }

    /// Refuses a request that holds too much, before anything of it is queued. `queue` is what may wait at all.
    pub fn check_texts(&self, model: &str, queue: usize, texts: &[Text]) -> Result<(), ApiError> {
        self.texts.with_label_values(&[model]).observe(texts.len() as f64);
        let most = self.spec.texts.unwrap_or(queue).min(queue);
        if texts.len() > most {
            let message = format!("a request may hold at most {most} texts, not {}", texts.len());
            return Err(ApiError::new(Code::Invalid, message));
        }
        for (index, Text { text, pair, .. }) in texts.iter().enumerate() {
            let bytes = text.len().max(pair.as_ref().map_or(0, String::len));
            if bytes > self.spec.text_bytes {
                let most = self.spec.text_bytes;
                let message = format!("text {index} has {bytes} bytes, and a text may have {most}");
                return Err(ApiError::new(Code::TooLarge, message));
            }
        }
        Ok(())
    }

    /// Refuses a text of too many tokens instead of answering for a part of it.
    pub fn check_tokens(&self, model: &str, windows: &[Window]) -> Result<(), String> {
        let tokens: usize = windows.iter().map(|window| window.encoding.len()).sum();
        self.tokens.with_label_values(&[model]).observe(tokens as f64);
        let Some(most) = self.spec.tokens else { return Ok(()) };
        let cut = windows.iter().any(|window| window.encoding.truncated);
        if tokens <= most && !cut {
            return Ok(());
        }
        let has = if cut { format!("more than {tokens}") } else { tokens.to_string() };
        Err(format!("it has {has} tokens, and a text may have {}", most.min(tokens)))
    }
}
