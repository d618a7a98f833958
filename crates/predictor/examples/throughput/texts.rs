//! What is asked: one text of a fixed length, or those of a file in turn.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, anyhow, ensure};
use refit_preprocess::Encoding;
use tokenizers::{Tokenizer, TruncationParams};

/// The length of the one text that is asked where there is no file of texts.
const TOKENS: usize = 32;

/// Texts that the threads take in turn. Clones go on where the others are.
#[derive(Clone)]
pub struct Texts {
    texts: Arc<[String]>,
    taken: Arc<AtomicUsize>,
}

/// What a bare loop runs on.
#[derive(Clone)]
pub enum Tokens {
    /// Tokens that were made before.
    Given(Encoding),
    /// Those of the next text.
    OfTexts(Texts, Arc<Tokenizer>),
}

impl Texts {
    /// One text for ever.
    pub fn one(text: String) -> Self {
        Self { texts: [text].into(), taken: Arc::default() }
    }

    /// From a JSON array, or one JSON string a line.
    pub fn read(path: &Path) -> Result<Self> {
        let file = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let texts: Vec<String> = if file.trim_start().starts_with('[') {
            serde_json::from_str(&file)?
        } else {
            file.lines().map(serde_json::from_str).collect::<Result<_, _>>()?
        };
        ensure!(!texts.is_empty(), "{} holds no texts", path.display());
        Ok(Self { texts: texts.into(), taken: Arc::default() })
    }

    pub fn next(&self) -> &str {
        &self.texts[self.taken.fetch_add(1, Ordering::Relaxed) % self.texts.len()]
    }

    pub fn first(&self) -> &str {
        &self.texts[0]
    }
}

impl Tokens {
    /// With the tokenizer as its library has it, so that the loop owes nothing to this project.
    pub fn of_texts(texts: &Texts, tokenizer: &Path, max_length: usize) -> Result<Self> {
        let mut tokenizer = Tokenizer::from_file(tokenizer).map_err(anyhow::Error::from_boxed)?;
        let truncation = TruncationParams { max_length, ..Default::default() };
        tokenizer.with_padding(None);
        tokenizer.with_truncation(Some(truncation)).map_err(anyhow::Error::from_boxed)?;
        Ok(Self::OfTexts(texts.clone(), Arc::new(tokenizer)))
    }

    pub fn next(&self) -> Result<Encoding> {
        match self {
            Self::Given(encoding) => Ok(encoding.clone()),
            Self::OfTexts(texts, tokenizer) => encode(tokenizer, texts.next()),
        }
    }

    /// Over all texts.
    pub fn mean_length(&self) -> Result<f64> {
        match self {
            Self::Given(encoding) => Ok(encoding.len() as f64),
            Self::OfTexts(texts, tokenizer) => {
                let lengths = texts.texts.iter().map(|text| Ok(encode(tokenizer, text)?.len()));
                Ok(lengths.sum::<Result<usize>>()? as f64 / texts.texts.len() as f64)
            }
        }
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Encoding> {
    let encoded = tokenizer.encode_fast(text, true).map_err(anyhow::Error::from_boxed)?;
    let numbers = |values: &[u32]| values.iter().map(|&value| value.into()).collect();
    Ok(Encoding {
        input_ids: numbers(encoded.get_ids()),
        attention_mask: numbers(encoded.get_attention_mask()),
        token_type_ids: numbers(encoded.get_type_ids()),
        unknown_tokens: 0,
        truncated: false,
    })
}

/// A text of exactly [`TOKENS`] tokens.
pub fn text_of_length(tokenize: impl Fn(&str) -> Result<Encoding>) -> Result<(String, Encoding)> {
    let words = "the film was a long and slow story of two people who never met but wrote letters for years"
        .split(' ');
    let mut text = String::new();
    for word in words.cycle().take(2 * TOKENS) {
        text = format!("{text} {word}");
        let encoding = tokenize(&text)?;
        if encoding.len() == TOKENS {
            return Ok((text, encoding));
        }
    }
    Err(anyhow!("no text has {TOKENS} tokens: does the model take that many?"))
}
