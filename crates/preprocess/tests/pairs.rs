//! Pairs, places and windows, with the tokenizer of the other tests.

use refit_preprocess::{TextPreprocessor, TextSettings, characters, words};

const TINY: &[u8] = include_bytes!("tiny/tokenizer.json");

fn tiny(max_length: usize, stride: Option<usize>) -> TextPreprocessor {
    TextPreprocessor::new(TINY, TextSettings { max_length, stride }).expect("the tiny tokenizer is valid")
}

#[test]
fn words_are_what_white_space_separates() {
    assert_eq!(words("  Über uns\tu.a. "), [(2, 6), (7, 10), (11, 15)]);
    assert_eq!(words(" \n"), []);
    assert_eq!(characters("Über uns", 5, 8), "uns");
}

#[test]
fn every_token_knows_its_characters() {
    let text = "good Ünknown film";
    let window = tiny(32, None).encode_with_places(text).unwrap();
    assert_eq!(window.places.len(), window.encoding.len());
    assert_eq!((window.places[0], window.places[window.places.len() - 1]), (None, None), "special tokens");
    for (start, end) in words(text) {
        let token = window.first_token(start, end).expect("every word is read");
        assert_eq!(window.places[token].unwrap().0, start);
    }
    let cut = tiny(3, None).encode_with_places(text).unwrap();
    assert!(cut.encoding.truncated && cut.first_token(5, 12).is_none(), "what is cut off has no token");
}

#[test]
fn windows_cover_the_whole_text_and_overlap() {
    let text = (0..40).map(|_| "film").collect::<Vec<_>>().join(" ");
    let windows = tiny(16, Some(4)).encode_windows("good", &text).unwrap();
    let lengths: Vec<usize> = windows.iter().map(|window| window.encoding.len()).collect();
    assert!(windows.len() > 3, "{lengths:?}");
    let alone = tiny(16, None).encode("good").unwrap();
    let mut covered = vec![0; words(&text).len()];
    for window in &windows {
        assert!(window.encoding.len() <= 16);
        assert_eq!(
            window.encoding.input_ids[..alone.len()],
            alone.input_ids,
            "each begins with the question"
        );
        for (place, (start, end)) in words(&text).into_iter().enumerate() {
            covered[place] += usize::from(window.first_token(start, end).is_some());
        }
    }
    assert!(covered.iter().all(|windows| *windows >= 1), "{covered:?}");
    assert!(covered.iter().any(|windows| *windows >= 2), "{covered:?}");
    assert!(tiny(4, Some(0)).encode_windows(&text, "film").is_err(), "no room beside the question");
}

#[test]
fn the_second_text_of_a_pair_has_its_own_segment() {
    let pair = tiny(16, None).encode_pair("good film", "bad plot").unwrap();
    let first = tiny(16, None).encode("good film").unwrap();
    assert_eq!(pair.input_ids[..first.len()], first.input_ids);
    let segments = &pair.token_type_ids;
    assert_eq!(segments.iter().position(|&segment| segment == 1), Some(first.len()), "{segments:?}");
    assert_eq!(segments.last(), Some(&1));
    let long = "film ".repeat(40);
    let cut = tiny(12, None).encode_pair("good", &long).unwrap();
    assert!(cut.truncated && cut.len() == 12);
}
