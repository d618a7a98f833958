//! From tags of tokens to entities.

use std::sync::Arc;

use refit_preprocess::{Window, characters, words};
use refit_stats::entities;

use crate::{
    answer::{Answer, Entity, TaggedWord},
    prediction::{largest, softmax},
};

/// The answer for a text of which `window` holds the tokens and `logits` one logit a tag and token.
pub(crate) fn decode(text: &str, window: &Window, tags: &[Arc<str>], logits: &[f32]) -> Answer {
    let width = tags.len().max(1);
    let tagged = |(start, end): (usize, usize)| {
        let token = window.first_token(start, end)?;
        let logits = logits.get(token * width..(token + 1) * width)?;
        let best = largest(logits);
        let probability = softmax(logits, 1.0)[best];
        Some(TaggedWord { start, end, tag: Arc::clone(&tags[best]), probability })
    };
    let characters_of: Vec<char> = text.chars().collect();
    let parts = words(text).into_iter().flat_map(|word| without_punctuation(&characters_of, word));
    let words: Vec<TaggedWord> = parts.filter_map(tagged).collect();
    let found = entities(&words.iter().map(|word| &*word.tag).collect::<Vec<_>>());
    let entity = |span: refit_stats::EntitySpan| {
        let part = &words[span.start..span.end];
        let (start, end) = (part[0].start, part[part.len() - 1].end);
        let probability = part.iter().map(|word| word.probability).sum::<f32>() / part.len() as f32;
        Entity { kind: span.kind, text: characters(text, start, end), start, end, probability }
    };
    Answer::Entities { entities: found.into_iter().map(entity).collect(), words }
}

/// A word and the punctuation around it, each by itself: people write `London.`, data sets `London .`
fn without_punctuation(text: &[char], (start, end): (usize, usize)) -> Vec<(usize, usize)> {
    let opens = |c: &char| "([{\"'\u{201c}\u{2018}\u{ab}".contains(*c);
    let closes = |c: &char| ".,;:!?)]}\"'\u{201d}\u{2019}\u{bb}".contains(*c);
    let word = &text[start..end];
    let first = start + word.iter().take_while(|c| opens(c)).count();
    let last = end - word.iter().rev().take_while(|c| closes(c)).count();
    if first >= last {
        return vec![(start, end)];
    }
    let before = (start..first).map(|place| (place, place + 1));
    let after = (last..end).map(|place| (place, place + 1));
    before.chain([(first, last)]).chain(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_around_a_word_is_not_part_of_it() {
        let check = |text: &str, expected: &[(usize, usize)]| {
            let text: Vec<char> = text.chars().collect();
            assert_eq!(without_punctuation(&text, (0, text.len())), expected, "{text:?}");
        };
        check("London.", &[(0, 6), (6, 7)]);
        check("(U.S.),", &[(0, 1), (1, 4), (4, 5), (5, 6), (6, 7)]);
        check("...", &[(0, 3)]);
        check("it's", &[(0, 4)]);
    }
}
