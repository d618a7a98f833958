use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::{Tokenizer, TruncationParams};

use crate::beginning::{AddedToken, beginning, ends_at_blanks};
use crate::error::PreprocessError;
use crate::known_words::{Framed, KnownWords};

/// Turns text into token ids, the same way in training and in serving.
#[derive(Debug, Clone)]
pub struct TextPreprocessor {
    pub(crate) tokenizer: Tokenizer,
    /// The same without truncation, where long texts are read in windows.
    pub(crate) whole: Option<Tokenizer>,
    /// Whether the tokens before a blank do not depend on what follows it.
    ends_at_blanks: bool,
    /// Where the tokens of a word do not depend on its neighbours.
    known_words: Option<Arc<KnownWords>>,
    settings: TextSettings,
    pad_id: i64,
    unknown_id: Option<i64>,
}

/// What is not in `tokenizer.json`; saved as `preprocessing.json` in the artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSettings {
    /// Most tokens of a text, special tokens included; what is longer loses its end.
    pub max_length: usize,
    /// Tokens that neighbouring windows over a long text share; absent where a long text is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
}

impl Default for TextSettings {
    fn default() -> Self {
        Self { max_length: 128, stride: None }
    }
}

/// One text as tokens, without padding. The three lists have the same length, at least 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// Token ids.
    pub input_ids: Vec<i64>,
    /// 1 for every token.
    pub attention_mask: Vec<i64>,
    /// Segment of every token: 0 for a single text.
    pub token_type_ids: Vec<i64>,
    /// Tokens that stand for something outside the vocabulary.
    pub unknown_tokens: usize,
    /// Whether the text was longer than `max_length` and lost its end.
    pub truncated: bool,
}

impl Encoding {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// Never true for what [`TextPreprocessor::encode`] returns.
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }

    /// Share of unknown tokens among all tokens, special ones included.
    pub fn unknown_rate(&self) -> f64 {
        self.unknown_tokens as f64 / self.len().max(1) as f64
    }
}

impl TextPreprocessor {
    /// From the bytes of a `tokenizer.json`. Padding and truncation in that file are ignored: length
    /// is the settings' matter, and padding the batch's.
    ///
    /// # Errors
    /// When the bytes are no tokenizer, or `max_length` leaves no room beside the special tokens.
    pub fn new(tokenizer_json: &[u8], settings: TextSettings) -> Result<Self, PreprocessError> {
        let mut tokenizer =
            unwinding(|| Tokenizer::from_bytes(tokenizer_json)).map_err(PreprocessError::ReadTokenizer)?;
        let file = TokenizerFile::read(tokenizer_json)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(PreprocessError::ReadTokenizer)?;
        // Counted on an empty text, because a tokenizer's post-processors may be nested.
        let special = encode_with(&tokenizer, "")?.len();
        if settings.max_length <= special {
            return Err(PreprocessError::MaxLength { max_length: settings.max_length, special });
        }
        let known_words = file.known_words(&tokenizer).map(Arc::new);
        let whole = settings.stride.map(|_| tokenizer.clone());
        let truncation = TruncationParams { max_length: settings.max_length, ..Default::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(PreprocessError::ReadTokenizer)?;
        let pad_id = file.pad_id(&tokenizer).unwrap_or(0);
        let unknown_id = file.unknown_id(&tokenizer);
        let ends_at_blanks = ends_at_blanks(&file.normalizer, &file.pre_tokenizer, &file.added_tokens);
        Ok(Self { tokenizer, whole, ends_at_blanks, known_words, settings, pad_id, unknown_id })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &TextSettings {
        &self.settings
    }

    /// The id that padding is made of.
    pub fn pad_id(&self) -> i64 {
        self.pad_id
    }

    /// Number of token ids, added tokens included: one more than the largest id where ids have no gaps.
    pub fn vocabulary_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Token ids of one text.
    ///
    /// # Errors
    /// When the tokenizer refuses the text, which a tokenizer with an unknown token does not do.
    pub fn encode(&self, text: &str) -> Result<Encoding, PreprocessError> {
        let Some(known_words) = &self.known_words else {
            return Ok(self.encoding(&self.cut_to_length(text, |part| encode_with(&self.tokenizer, part))?));
        };
        let framed = unwinding(|| known_words.encode(&self.tokenizer, text, self.settings.max_length));
        framed.map(|framed| self.finish(framed)).map_err(|source| refused(text, "", source))
    }

    /// What `encode` makes of a text that it cuts: of the beginning alone, where that gives as many tokens as are kept.
    pub(crate) fn cut_to_length<E>(
        &self,
        text: &str,
        encode: impl Fn(&str) -> Result<tokenizers::Encoding, E>,
    ) -> Result<tokenizers::Encoding, E> {
        if let Some(part) = beginning(text, self.settings.max_length).filter(|_| self.ends_at_blanks) {
            let encoded = encode(part)?;
            if !encoded.get_overflowing().is_empty() {
                return Ok(encoded);
            }
        }
        encode(text)
    }

    /// What a graph reads of the library's encoding.
    pub(crate) fn encoding(&self, encoded: &tokenizers::Encoding) -> Encoding {
        let all = |ids: &[u32]| ids.iter().map(|&id| id.into()).collect();
        let (ids, types) = (all(encoded.get_ids()), all(encoded.get_type_ids()));
        self.finish(Framed { ids, types, truncated: !encoded.get_overflowing().is_empty() })
    }

    fn finish(&self, framed: Framed) -> Encoding {
        let Framed { ids: mut input_ids, types: mut token_type_ids, truncated } = framed;
        let unknown_tokens = self.unknown_among(&input_ids);
        if input_ids.is_empty() {
            // No engine takes a sequence of length 0.
            input_ids.push(self.unknown_id.unwrap_or(self.pad_id));
            token_type_ids.push(0);
        }
        Encoding {
            attention_mask: vec![1; input_ids.len()],
            input_ids,
            token_type_ids,
            unknown_tokens,
            truncated,
        }
    }

    /// How many ids stand for something outside the vocabulary.
    pub(crate) fn unknown_among(&self, ids: &[i64]) -> usize {
        self.unknown_id.map_or(0, |unknown| ids.iter().filter(|&&id| id == unknown).count())
    }

    /// Token ids of many texts, in parallel; the order is kept.
    ///
    /// # Errors
    /// As [`Self::encode`]; the first text that fails.
    pub fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Encoding>, PreprocessError> {
        texts.par_iter().map(|text| self.encode(text)).collect()
    }
}

fn encode_with(tokenizer: &Tokenizer, text: &str) -> Result<tokenizers::Encoding, PreprocessError> {
    unwinding(|| tokenizer.encode_fast(text, true)).map_err(|source| refused(text, "", source))
}

/// What the tokenizer says of a pair of texts; the second one may be empty.
pub(crate) fn refused(first: &str, second: &str, source: tokenizers::Error) -> PreprocessError {
    PreprocessError::Encode { characters: first.chars().count() + second.chars().count(), source }
}

/// The library panics on files that contradict themselves, such as a template with a token that the file
/// does not define; the file is the user's, so it is an error.
pub(crate) fn unwinding<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err("tokenizer.json contradicts itself".into()))
}

/// The parts of `tokenizer.json` that the library does not give back.
#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    padding: Option<Padding>,
    model: Model,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct Padding {
    pad_id: i64,
}

#[derive(Deserialize)]
struct Model {
    /// WordPiece, WordLevel and BPE name the token.
    #[serde(default)]
    unk_token: Option<String>,
    /// Unigram gives its id.
    #[serde(default)]
    unk_id: Option<i64>,
    /// BPE: how often a merge is left out, by chance.
    #[serde(default)]
    dropout: Option<f32>,
}

impl TokenizerFile {
    fn read(tokenizer_json: &[u8]) -> Result<Self, PreprocessError> {
        serde_json::from_slice(tokenizer_json).map_err(|error| PreprocessError::ReadTokenizer(error.into()))
    }

    /// A memory for words, where a word has the same tokens every time.
    fn known_words(&self, tokenizer: &Tokenizer) -> Option<KnownWords> {
        if self.model.dropout.is_some_and(|dropout| dropout > 0.0) {
            return None;
        }
        unwinding(|| {
            Ok(KnownWords::new(tokenizer, &self.normalizer, &self.pre_tokenizer, &self.added_tokens))
        })
        .ok()?
    }

    fn pad_id(&self, tokenizer: &Tokenizer) -> Option<i64> {
        let by_name = || ["[PAD]", "<pad>", "<|pad|>"].iter().find_map(|name| tokenizer.token_to_id(name));
        self.padding.as_ref().map(|padding| padding.pad_id).or_else(|| by_name().map(i64::from))
    }

    fn unknown_id(&self, tokenizer: &Tokenizer) -> Option<i64> {
        let by_name = |name: &String| tokenizer.token_to_id(name).map(i64::from);
        self.model.unk_id.or_else(|| self.model.unk_token.as_ref().and_then(by_name))
    }
}
