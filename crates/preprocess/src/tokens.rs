//! Tokens that were made elsewhere, with the same tokenizer.

use crate::error::PreprocessError;
use crate::text::{Encoding, TextPreprocessor};

/// One text as tokens, with or without padding at its end. The three lists have the same length.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tokens {
    /// Token ids.
    pub input_ids: Vec<i64>,
    /// 1 for a token, 0 for padding.
    pub attention_mask: Vec<i64>,
    /// 0 for a token of the first text, 1 for one of the second.
    pub token_type_ids: Vec<i64>,
}

impl TextPreprocessor {
    /// What a graph reads of tokens made elsewhere. Padding is left out: an answer does not depend on it.
    ///
    /// # Errors
    /// [`PreprocessError::Tokens`] when the lists do not fit together, padding stands before a token, no token is left,
    /// there are more than `max_length`, or an id is none of the vocabulary.
    pub fn encode_tokens(&self, tokens: &Tokens) -> Result<Encoding, PreprocessError> {
        let refuse = |reason: String| Err(PreprocessError::Tokens { reason });
        let Tokens { input_ids, attention_mask, token_type_ids } = tokens;
        if attention_mask.len() != input_ids.len() || token_type_ids.len() != input_ids.len() {
            let (ids, mask, types) = (input_ids.len(), attention_mask.len(), token_type_ids.len());
            return refuse(format!("there are {ids} token ids, {mask} values of the mask and {types} types"));
        }
        let length = attention_mask.iter().take_while(|&&mask| mask == 1).count();
        if attention_mask[length..].iter().any(|&mask| mask != 0) {
            return refuse(
                "the attention mask must be ones for the tokens, then zeros for padding".to_owned(),
            );
        }
        if length == 0 {
            return refuse("there is no token that is not padding".to_owned());
        }
        let (longest, vocabulary) = (self.settings().max_length, self.vocabulary_size());
        if length > longest {
            return refuse(format!("there are {length} tokens, and the model reads {longest}"));
        }
        let is_known = |id: &i64| usize::try_from(*id).is_ok_and(|id| id < vocabulary);
        if let Some(id) = input_ids[..length].iter().find(|id| !is_known(id)) {
            return refuse(format!("the token id {id} is none of the {vocabulary} of the vocabulary"));
        }
        if let Some(kind) = token_type_ids[..length].iter().find(|kind| !(0..=1).contains(*kind)) {
            return refuse(format!("the token type {kind} is neither 0 nor 1"));
        }
        Ok(Encoding {
            input_ids: input_ids[..length].to_vec(),
            attention_mask: vec![1; length],
            token_type_ids: token_type_ids[..length].to_vec(),
            unknown_tokens: self.unknown_among(&input_ids[..length]),
            truncated: false,
        })
    }
}
