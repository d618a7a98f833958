//! Words that were tokenized before. Texts repeat their words, and where the tokens of a word do not depend on its
//! neighbours they need not be made again.

use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::beginning::{AddedToken, all, any_spans_blanks, kind};

/// Words that are kept. Of 25,000 film reviews 93 % of all words are among the commonest of as many.
const MOST: usize = 1 << 15;
/// Bytes of a word that is kept. Longer ones hardly come again.
const LONGEST: usize = 24;
/// What splits texts into words: white space that no normalizer takes for a control character.
const BLANKS: [char; 4] = [' ', '\n', '\t', '\r'];

/// A memory for words, and the special tokens that a text has around its own.
pub(crate) struct KnownWords {
    words: Cache<Box<str>, Arc<[u32]>>,
    frame: Frame,
}

/// A text's tokens by its words.
pub(crate) struct Framed {
    pub ids: Vec<i64>,
    pub types: Vec<i64>,
    pub truncated: bool,
}

/// Special tokens with their types.
#[derive(PartialEq, Eq)]
struct Frame {
    before: Vec<(u32, u32)>,
    after: Vec<(u32, u32)>,
    /// The type of what is between them.
    inside: u32,
}

impl KnownWords {
    /// `None` where words depend on each other, or that is not known. `tokenizer` must not truncate.
    pub fn new(
        tokenizer: &Tokenizer,
        normalizer: &Value,
        pre_tokenizer: &Value,
        added: &[AddedToken],
    ) -> Option<Self> {
        if !words_stand_alone(normalizer, pre_tokenizer, added) {
            return None;
        }
        let frame = Frame::of(tokenizer, "a")?;
        let is_the_same = |probe| Frame::of(tokenizer, probe).is_some_and(|other| other == frame);
        ["one two", "x, y. z?"].into_iter().all(is_the_same).then(|| Self { words: Cache::new(MOST), frame })
    }

    /// What `tokenizer`, which may truncate to `max_length`, makes of the text.
    pub fn encode(&self, tokenizer: &Tokenizer, text: &str, max_length: usize) -> tokenizers::Result<Framed> {
        let Frame { before, after, inside } = &self.frame;
        let room = max_length.saturating_sub(before.len() + after.len());
        let mut ids: Vec<i64> = before.iter().map(|(id, _)| i64::from(*id)).collect();
        let (begin, mut truncated) = (ids.len(), false);
        for word in text.split(BLANKS).filter(|word| !word.is_empty()) {
            if let Some(known) = (word.len() <= LONGEST).then(|| self.words.get(word)).flatten() {
                ids.extend(known.iter().map(|&id| i64::from(id)));
            } else {
                let encoded = tokenizer.encode_fast(word, false)?;
                ids.extend(encoded.get_ids().iter().map(|&id| i64::from(id)));
                let is_whole = encoded.get_overflowing().is_empty();
                truncated |= !is_whole;
                if is_whole && word.len() <= LONGEST {
                    self.words.insert(word.into(), encoded.get_ids().into());
                }
            }
            truncated |= ids.len() - begin > room;
            if truncated {
                break;
            }
        }
        ids.truncate(begin + room);
        let mut types: Vec<i64> = before.iter().map(|(_, of)| i64::from(*of)).collect();
        types.resize(ids.len(), i64::from(*inside));
        ids.extend(after.iter().map(|(id, _)| i64::from(*id)));
        types.extend(after.iter().map(|(_, of)| i64::from(*of)));
        Ok(Framed { ids, types, truncated })
    }
}

impl fmt::Debug for KnownWords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KnownWords").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

impl Frame {
    /// What a tokenizer puts around a text; `None` where that is not all that it does with it.
    fn of(tokenizer: &Tokenizer, probe: &str) -> Option<Self> {
        let bare = tokenizer.encode_fast(probe, false).ok()?;
        let full = tokenizer.encode_fast(probe, true).ok()?;
        let special = full.get_special_tokens_mask();
        let begin = special.iter().take_while(|&&mask| mask == 1).count();
        let end = special.iter().rposition(|&mask| mask == 0)? + 1;
        let (ids, types) = (full.get_ids(), full.get_type_ids());
        let inside = *types.get(begin)?;
        let is_framed =
            ids.get(begin..end) == Some(bare.get_ids()) && types[begin..end].iter().all(|of| *of == inside);
        let pairs = |from: usize, to: usize| {
            ids[from..to].iter().copied().zip(types[from..to].iter().copied()).collect()
        };
        is_framed.then(|| Self { before: pairs(0, begin), after: pairs(end, ids.len()), inside })
    }
}

/// Whether what stands between two blanks has the same tokens whatever stands beyond them.
fn words_stand_alone(normalizer: &Value, pre_tokenizer: &Value, added: &[AddedToken]) -> bool {
    is_local(normalizer)
        && matches!(kind(pre_tokenizer), "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit")
        && !any_spans_blanks(added)
}

/// Whether a normalizer neither looks beyond a blank nor takes one away.
fn is_local(part: &Value) -> bool {
    match kind(part) {
        "" => part.is_null(),
        "BertNormalizer" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "StripAccents" => true,
        "Sequence" => all(&part["normalizers"], is_local),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_that_depend_on_each_other_are_not_kept() {
        let alone = |normalizer: Value, pre_tokenizer: &str, token: &str| {
            let added = [AddedToken { content: token.to_owned() }];
            words_stand_alone(&normalizer, &json!({"type": pre_tokenizer}), &added)
        };
        let bert = || json!({"type": "BertNormalizer"});
        let sequence = |last: &str| json!({"type": "Sequence", "normalizers": [bert(), {"type": last}]});
        for (found, expected) in [
            (alone(bert(), "BertPreTokenizer", "[CLS]"), true),
            (alone(Value::Null, "WhitespaceSplit", "[CLS]"), true),
            (alone(sequence("NFKC"), "Whitespace", "[CLS]"), true),
            (alone(sequence("Strip"), "Whitespace", "[CLS]"), false),
            (alone(bert(), "Metaspace", "[CLS]"), false),
            (alone(bert(), "ByteLevel", "[CLS]"), false),
            (alone(bert(), "BertPreTokenizer", "[a b]"), false),
            (alone(json!({"type": "Unheard"}), "BertPreTokenizer", "[CLS]"), false),
        ] {
            assert_eq!(found, expected);
        }
    }
}
