//! Texts with the places of their tokens, pairs of texts, and windows over long ones.

use crate::error::PreprocessError;
use crate::text::{Encoding, TextPreprocessor, refused, unwinding};
use tokenizers::TruncationDirection;

/// What a graph reads at a time, with the places of its tokens where answers are parts of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The tokens.
    pub encoding: Encoding,
    /// First character and one after the last of each token in the text that answers are parts of; `None` for
    /// special tokens and those of another text. Empty where nobody asks.
    pub places: Vec<Option<(usize, usize)>>,
}

impl From<Encoding> for Window {
    fn from(encoding: Encoding) -> Self {
        Self { encoding, places: Vec::new() }
    }
}

impl Window {
    /// The first token that stands for something of the characters from `start` to before `end`. Tokens of some
    /// vocabularies hold the blank before a word, so overlapping counts, not beginning.
    pub fn first_token(&self, start: usize, end: usize) -> Option<usize> {
        self.places.iter().position(|place| place.is_some_and(|(from, to)| to > start && from < end))
    }
}

/// First character and one after the last of every word: what white space separates.
pub fn words(text: &str) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut start = None;
    let mut length = 0;
    for (place, character) in text.chars().enumerate() {
        length = place + 1;
        match (start, character.is_whitespace()) {
            (None, false) => start = Some(place),
            (Some(from), true) => {
                words.push((from, place));
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|from| (from, length)));
    words
}

/// The characters from `start` to before `end`.
pub fn characters(text: &str, start: usize, end: usize) -> String {
    text.chars().skip(start).take(end.saturating_sub(start)).collect()
}

impl TextPreprocessor {
    /// Two texts in one sequence, in the tokenizer's template for pairs; where they are too long together, the longer
    /// one loses its end first.
    ///
    /// # Errors
    /// When the tokenizer refuses the texts.
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<Encoding, PreprocessError> {
        let encoded = unwinding(|| self.tokenizer.encode_fast((first, second), true))
            .map_err(|source| refused(first, second, source))?;
        Ok(self.encoding(&encoded))
    }

    /// One text with the places of its tokens.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode_with_places(&self, text: &str) -> Result<Window, PreprocessError> {
        let encode = |part: &str| unwinding(|| self.tokenizer.encode_char_offsets(part, true));
        let encoded = self.cut_to_length(text, encode).map_err(|source| refused(text, "", source))?;
        Ok(self.window(&encoded, 0))
    }

    /// `first` with all of `second`, in as many overlapping windows as that takes; places are those in `second`.
    ///
    /// # Errors
    /// When `first` leaves no room for `second`, or the settings name no stride.
    pub fn encode_windows(&self, first: &str, second: &str) -> Result<Vec<Window>, PreprocessError> {
        let encoded =
            unwinding(|| self.cut(first, second)).map_err(|source| refused(first, second, source))?;
        let further = encoded.get_overflowing().iter().map(|window| self.window(window, 1));
        let mut windows = vec![self.window(&encoded, 1)];
        windows.extend(further);
        // All of the text is read, by one window or another.
        windows.iter_mut().for_each(|window| window.encoding.truncated = false);
        Ok(windows)
    }

    /// The library's own windows are not used: with truncation set, it reads no further than the first of them.
    fn cut(&self, first: &str, second: &str) -> tokenizers::Result<tokenizers::Encoding> {
        let tokenizer = self.whole.as_ref().ok_or("the settings name no stride")?;
        let special = tokenizer.encode_fast(("", ""), true)?.len();
        let question = tokenizer.encode_char_offsets(first, false)?;
        let mut text = tokenizer.encode_char_offsets(second, false)?;
        let room = self.settings().max_length.saturating_sub(special + question.len());
        if room == 0 {
            return Err("the first text leaves no room for the second".into());
        }
        let stride = self.settings().stride.unwrap_or(0).min(room - 1);
        text.truncate(room, stride, TruncationDirection::Right);
        tokenizer.post_process(question, Some(text), true)
    }

    fn window(&self, encoded: &tokenizers::Encoding, sequence: usize) -> Window {
        let inside = encoded.get_sequence_ids();
        let mut places: Vec<Option<(usize, usize)>> = encoded
            .get_offsets()
            .iter()
            .zip(inside)
            .map(|(&place, of)| (of == Some(sequence) && place.0 < place.1).then_some(place))
            .collect();
        let encoding = self.encoding(encoded);
        places.resize(encoding.len(), None);
        Window { encoding, places }
    }
}
