//! Token ids equal those of Hugging Face's `tokenizers` (tests/reference/token_ids.py), and no text
//! and no settings file makes it panic.

use proptest::prelude::*;
use refit_preprocess::{PreprocessError, TextPreprocessor, TextSettings};

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

proptest! {
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
