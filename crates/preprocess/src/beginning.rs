//! The part of a long text that its first tokens follow from: what is cut off need not be tokenized.

use serde::Deserialize;
use serde_json::Value;

/// A token that is looked for in the text before it is split.
#[derive(Deserialize)]
pub(crate) struct AddedToken {
    pub(crate) content: String,
}

/// Whether the tokens before a blank between two letters or digits are the same whatever follows it. False where that is
/// not known.
pub(crate) fn ends_at_blanks(normalizer: &Value, pre_tokenizer: &Value, added: &[AddedToken]) -> bool {
    keeps_blanks_apart(normalizer) && splits_at_blanks(pre_tokenizer) && !any_spans_blanks(added)
}

/// Whether one of them is found across a blank.
pub(crate) fn any_spans_blanks(added: &[AddedToken]) -> bool {
    added.iter().any(|token| token.content.contains(char::is_whitespace))
}

/// The type of a part of `tokenizer.json`; empty where there is none.
pub(crate) fn kind(part: &Value) -> &str {
    part["type"].as_str().unwrap_or_default()
}

/// Whether a normalizer changes what stands before a blank without looking behind it.
fn keeps_blanks_apart(part: &Value) -> bool {
    match kind(part) {
        "" => part.is_null(),
        "BertNormalizer" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "StripAccents" | "Nmt"
        | "Precompiled" | "Prepend" | "Strip" => true,
        "Replace" => {
            let pattern = &part["pattern"];
            let is_letter = pattern["String"].as_str().is_some_and(|letters| letters.chars().count() == 1);
            is_letter || pattern["Regex"].as_str() == Some(" {2,}")
        }
        "Sequence" => all(&part["normalizers"], keeps_blanks_apart),
        _ => false,
    }
}

fn splits_at_blanks(part: &Value) -> bool {
    match kind(part) {
        "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit" => true,
        "ByteLevel" => part["use_regex"].as_bool().unwrap_or(true),
        "Metaspace" => part["split"].as_bool().unwrap_or(true),
        // What comes after the first works on its pieces.
        "Sequence" => part["pretokenizers"].get(0).is_some_and(splits_at_blanks),
        _ => false,
    }
}

/// Whether something holds for every part of a sequence.
pub(crate) fn all(parts: &Value, hold: fn(&Value) -> bool) -> bool {
    parts.as_array().is_some_and(|parts| parts.iter().all(hold))
}

/// The text before a blank between two letters or digits, probably long enough for `tokens` tokens; `None` where there is
/// no such blank or not much to gain.
pub(crate) fn beginning(text: &str, tokens: usize) -> Option<&str> {
    /// English takes some five bytes a token.
    const BYTES: usize = 6;
    let enough = tokens.saturating_mul(BYTES);
    let bytes = text.as_bytes();
    if bytes.len() < enough.saturating_add(enough / 4) {
        return None;
    }
    let is_blank = |at: &usize| {
        bytes[*at] == b' ' && bytes[*at - 1].is_ascii_alphanumeric() && bytes[*at + 1].is_ascii_alphanumeric()
    };
    (enough.max(1)..bytes.len().saturating_sub(1)).find(is_blank).map(|at| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_tokenized_whole() {
        let parts = |normalizer: Value, pre_tokenizer: Value, token: &str| {
            ends_at_blanks(&normalizer, &pre_tokenizer, &[AddedToken { content: token.to_owned() }])
        };
        let (bert, words) = (json!({"type": "BertNormalizer"}), json!({"type": "BertPreTokenizer"}));
        let regex = |pattern: &str| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"});
        let sequence = |first: Value| json!({"type": "Sequence", "normalizers": [first, {"type": "NFC"}]});
        let pieces = |split: bool| json!({"type": "Metaspace", "split": split});
        let after = |first: Value| json!({"type": "Sequence", "pretokenizers": [first, {"type": "Digits"}]});
        for (found, expected) in [
            (parts(bert.clone(), words.clone(), "[CLS]"), true),
            (parts(Value::Null, words.clone(), "[CLS]"), true),
            (parts(sequence(regex(" {2,}")), pieces(true), "<s>"), true),
            (parts(Value::Null, after(json!({"type": "WhitespaceSplit"})), "<s>"), true),
            (parts(bert.clone(), words, "[a b]"), false),
            (parts(sequence(regex("a .*z")), pieces(true), "<s>"), false),
            (parts(json!({"type": "Unheard"}), pieces(true), "<s>"), false),
            (parts(bert.clone(), pieces(false), "<s>"), false),
            (parts(bert.clone(), after(json!({"type": "Digits"})), "<s>"), false),
            (parts(bert.clone(), json!({"type": "ByteLevel", "use_regex": false}), "<s>"), false),
            (parts(bert, Value::Null, "<s>"), false),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_text_ends_between_words() {
        assert_eq!(beginning("one two three four", 1), Some("one two"));
        assert_eq!(beginning("one two", 1), None);
        assert_eq!(beginning("one-two-three, four", 1), None);
        assert_eq!(
            beginning("\u{e4}\u{e4}\u{e4}\u{e4}\u{e4} a b \u{e4}", 1),
            Some("\u{e4}\u{e4}\u{e4}\u{e4}\u{e4} a")
        );
        assert_eq!(beginning("", 0), None);
        assert_eq!(beginning("ab", usize::MAX), None);
    }
}
