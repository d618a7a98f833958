//! Token ids equal those of Hugging Face's `tokenizers` (tests/reference/token_ids.py), and no text
//! and no settings file makes it panic.

use proptest::prelude::*;
use refit_preprocess::{PreprocessError, TextPreprocessor, TextSettings};
use serde_json::json;

const TINY: &[u8] = include_bytes!("tiny/tokenizer.json");

fn tiny(max_length: usize) -> TextPreprocessor {
    TextPreprocessor::new(TINY, TextSettings { max_length, stride: None })
        .expect("the tiny tokenizer is valid")
}

#[test]
fn equals_the_reference() {
    let reference: serde_json::Value = serde_json::from_str(include_str!("tiny/reference.json")).unwrap();
    let text = tiny(reference["max_length"].as_u64().unwrap() as usize);
    let rows = reference["rows"].as_array().unwrap();
    assert!(rows.len() >= 16);
    for row in rows {
        let encoding = text.encode(row["text"].as_str().unwrap()).unwrap();
        assert_eq!(serde_json::json!(encoding.input_ids), row["input_ids"], "{row}");
        assert_eq!(serde_json::json!(encoding.token_type_ids), row["token_type_ids"], "{row}");
        assert_eq!(serde_json::json!(encoding.unknown_tokens), row["unknown_tokens"], "{row}");
        assert_eq!(serde_json::json!(encoding.truncated), row["truncated"], "{row}");
    }
}

#[test]
fn padding_and_truncation_of_the_file_are_off() {
    let encoding = tiny(64).encode("film").unwrap();
    assert!(encoding.len() < 24, "the file pads to 24");
    let long = tiny(64).encode(&"a film ".repeat(40)).unwrap();
    assert_eq!(long.len(), 64, "the file cuts at 24");
}

#[test]
fn truncation_keeps_the_special_tokens() {
    let whole = tiny(64).encode("a film about a film").unwrap();
    let cut = tiny(4).encode("a film about a film").unwrap();
    assert!(cut.truncated && !whole.truncated);
    assert_eq!(cut.len(), 4);
    assert_eq!(cut.input_ids.first(), whole.input_ids.first());
    assert_eq!(cut.input_ids.last(), whole.input_ids.last());
    assert_eq!(cut.input_ids[1..3], whole.input_ids[1..3]);
}

#[test]
fn no_room_for_text_is_refused() {
    let error = TextPreprocessor::new(TINY, TextSettings { max_length: 2, stride: None }).unwrap_err();
    assert!(matches!(error, PreprocessError::MaxLength { max_length: 2, special: 2 }));
    assert!(error.to_string().contains("at least 3"), "{error}");
}

#[test]
fn batches_are_padded_and_do_not_change_the_rows() {
    let text = tiny(32);
    let texts = ["a film", "", "a plain sentence about a film"];
    let encodings = text.encode_batch(&texts).unwrap();
    let padded = text.pad(&encodings.iter().collect::<Vec<_>>());
    assert_eq!((padded.batch, padded.sequence), (3, encodings[2].len()));
    for (row, encoding) in encodings.iter().enumerate() {
        assert_eq!(encoding, &text.encode(texts[row]).unwrap());
        let ids = &padded.ids[row * padded.sequence..][..padded.sequence];
        let mask = &padded.mask[row * padded.sequence..][..padded.sequence];
        assert_eq!(&ids[..encoding.len()], &encoding.input_ids);
        assert!(ids[encoding.len()..].iter().all(|&id| id == text.pad_id()));
        assert_eq!(mask.iter().sum::<i64>() as usize, encoding.len());
        assert!(mask.is_sorted_by(|a, b| a >= b));
    }
    assert_eq!(text.pad(&[]).sequence, 0);
}

#[test]
fn settings_travel_as_json() {
    let settings = TextSettings { max_length: 77, stride: None };
    let json = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<TextSettings>(&json).unwrap(), settings);
    assert!(serde_json::from_str::<TextSettings>(r#"{"max_length": 7, "lowercase": true}"#).is_err());
}

#[test]
fn a_template_with_an_undefined_token_is_an_error() {
    let mut file: serde_json::Value = serde_json::from_slice(TINY).unwrap();
    file["post_processor"]["special_tokens"].as_object_mut().unwrap().remove("[CLS]").unwrap();
    let error = TextPreprocessor::new(file.to_string().as_bytes(), TextSettings::default()).err().unwrap();
    assert!(error.to_string().contains("check it against the tokenizer.json"), "{error}");
}

/// Texts of words, marks and blanks of every kind, some of them hundreds of tokens long.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[a-z]{1,9} ",
        2 => prop::sample::select(vec!["a film ", "don't ", "x\u{301} ", "\u{4e2d}\u{6587} ", "\u{1f600}", "...", "\n"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["  ", "\t", "\u{a0}", "[MASK]", "<s> ", "42 ", "\u{130}", " \u{301}a "]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// A long text is not tokenized to its end, which must not show.
    #[test]
    fn a_cut_text_has_the_tokens_of_the_whole(text in texts(), max_length in 4usize..24) {
        for name in ["wordpiece", "bpe", "unigram", "wordlevel"] {
            let path = format!("{}/../../fuzz/corpus/tokenizer/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let file = std::fs::read(path).unwrap();
            let ours = TextPreprocessor::new(&file, TextSettings { max_length, stride: None }).unwrap();
            let mut whole = tokenizers::Tokenizer::from_bytes(&file).unwrap();
            whole.with_padding(None);
            let truncation = tokenizers::TruncationParams { max_length, ..Default::default() };
            whole.with_truncation(Some(truncation)).unwrap();
            let whole = whole.encode_char_offsets(text.as_str(), true).unwrap();
            let window = ours.encode_with_places(&text).unwrap();
            let encoding = ours.encode(&text).unwrap();
            prop_assert_eq!(&encoding, &window.encoding);
            prop_assert_eq!(&ours.encode(&text).unwrap(), &encoding, "again, by known words");
            if !whole.get_ids().is_empty() {
                let ids: Vec<i64> = whole.get_ids().iter().map(|id| i64::from(*id)).collect();
                prop_assert_eq!(&encoding.input_ids, &ids, "{}", name);
            }
            prop_assert_eq!(encoding.truncated, !whole.get_overflowing().is_empty(), "{}", name);
            let places: Vec<_> = window.places.iter().flatten().copied().collect();
            let expected = whole.get_offsets().iter().zip(whole.get_sequence_ids());
            let expected: Vec<_> = expected.filter(|(p, of)| *of == Some(0) && p.0 < p.1).map(|(p, _)| *p).collect();
            prop_assert_eq!(places, expected, "{}", name);
        }
    }

    /// Words that stand alone are tokenized once, which must not show.
    #[test]
    fn a_text_has_the_tokens_of_its_words(texts in prop::collection::vec(texts(), 1..4), max_length in 3usize..60) {
        let file: serde_json::Value = serde_json::from_slice(TINY).unwrap();
        for normalizer in [json!(null), file["normalizer"].clone(), json!({"type": "NFKC"}), json!({"type": "NFD"})] {
            for kind in ["BertPreTokenizer", "Whitespace", "WhitespaceSplit"] {
                let mut file = file.clone();
                file["normalizer"] = normalizer.clone();
                file["pre_tokenizer"] = json!({"type": kind});
                let file = file.to_string();
                let ours = TextPreprocessor::new(file.as_bytes(), TextSettings { max_length, stride: None }).unwrap();
                let mut library = tokenizers::Tokenizer::from_bytes(&file).unwrap();
                library.with_padding(None);
                let truncation = tokenizers::TruncationParams { max_length, ..Default::default() };
                library.with_truncation(Some(truncation)).unwrap();
                for text in &texts {
                    let (encoding, expected) = (ours.encode(text).unwrap(), library.encode(text.as_str(), true).unwrap());
                    let signed = |ids: &[u32]| ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>();
                    prop_assert_eq!(&encoding.input_ids, &signed(expected.get_ids()), "{} {}", &normalizer, kind);
                    prop_assert_eq!(&encoding.token_type_ids, &signed(expected.get_type_ids()));
                    prop_assert_eq!(encoding.truncated, !expected.get_overflowing().is_empty());
                }
            }
        }
    }

    #[test]
    fn any_text_gives_tokens_of_the_vocabulary(text in any::<String>(), max_length in 3usize..40) {
        let tiny = tiny(max_length);
        let encoding = tiny.encode(&text).unwrap();
        prop_assert!((1..=max_length).contains(&encoding.len()));
        prop_assert_eq!(encoding.attention_mask.len(), encoding.len());
        prop_assert_eq!(encoding.token_type_ids.len(), encoding.len());
        prop_assert!(encoding.input_ids.iter().all(|&id| (0..tiny.vocabulary_size() as i64).contains(&id)));
        prop_assert!((0.0..=1.0).contains(&encoding.unknown_rate()));
    }

    #[test]
    fn a_damaged_tokenizer_is_an_error_and_no_panic(at in 0..TINY.len(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = TINY.to_vec();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(text) = TextPreprocessor::new(&bytes, TextSettings::default()) {
            let _ = text.encode("a plain film");
        } else {
            prop_assert!(cut || TINY[at] != byte);
        }
    }
}
