//! Tokens that a caller made itself.

use refit_preprocess::{TextPreprocessor, TextSettings, Tokens};

const TINY: &[u8] = include_bytes!("tiny/tokenizer.json");

fn preprocessor() -> TextPreprocessor {
    TextPreprocessor::new(TINY, TextSettings { max_length: 8, stride: None }).unwrap()
}

#[test]
fn own_tokens_are_what_the_text_gives_however_they_are_padded() {
    let preprocessor = preprocessor();
    let encoding = preprocessor.encode("good").unwrap();
    assert!(!encoding.truncated);
    for padding in [0, 1, 50] {
        let padded = |values: &[i64], with: i64| [values, &vec![with; padding]].concat();
        let tokens = Tokens {
            input_ids: padded(&encoding.input_ids, preprocessor.pad_id()),
            attention_mask: padded(&encoding.attention_mask, 0),
            token_type_ids: padded(&encoding.token_type_ids, 0),
        };
        assert_eq!(preprocessor.encode_tokens(&tokens).unwrap(), encoding);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    let preprocessor = preprocessor();
    let large = preprocessor.vocabulary_size() as i64;
    type Case<'a> = (&'a [i64], &'a [i64], &'a [i64], &'a str);
    let cases: [Case; 9] = [
        (&[1], &[1, 1], &[0], "1 token ids, 2 values of the mask and 1 types"),
        (&[1], &[1], &[], "1 token ids, 1 values of the mask and 0 types"),
        (&[], &[], &[], "no token that is not padding"),
        (&[1, 1], &[0, 0], &[0, 0], "no token that is not padding"),
        (&[1, 1, 1], &[1, 0, 1], &[0, 0, 0], "ones for the tokens, then zeros"),
        (&[1], &[2], &[0], "ones for the tokens, then zeros"),
        (&[1; 9], &[1; 9], &[0; 9], "9 tokens, and the model reads 8"),
        (&[large], &[1], &[0], "none of the"),
        (&[-1], &[1], &[0], "none of the"),
    ];
    for (ids, mask, types, says) in cases {
        let tokens =
            Tokens { input_ids: ids.to_vec(), attention_mask: mask.to_vec(), token_type_ids: types.to_vec() };
        let error = preprocessor.encode_tokens(&tokens).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let types = Tokens { input_ids: vec![1], attention_mask: vec![1], token_type_ids: vec![2] };
    assert!(preprocessor.encode_tokens(&types).is_err());
}
