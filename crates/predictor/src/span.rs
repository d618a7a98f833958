//! From logits of first and last tokens to the answer in the text.

use refit_preprocess::characters;

use crate::answer::Span;

/// The longest answer, in tokens (as in BERT's SQuAD code).
const MAX_ANSWER_TOKENS: usize = 30;

/// The characters that each token of a window stands for; `None` where it is no token of the text.
pub type Places<'a> = &'a [Option<(usize, usize)>];

/// The most probable span over all windows of `text`; `logits` holds two a token: that it is the first, and the last.
pub fn best_span(text: &str, windows: &[(Places<'_>, &[f32])]) -> Option<Span> {
    let mut best: Option<(f32, usize, usize)> = None;
    for (places, logits) in windows {
        let logit =
            |token: usize, side: usize| logits.get(2 * token + side).copied().unwrap_or(f32::NEG_INFINITY);
        for (first, place) in places.iter().enumerate() {
            let Some((start, _)) = place else { continue };
            for (last, place) in places.iter().enumerate().skip(first).take(MAX_ANSWER_TOKENS) {
                let Some((_, end)) = place else { break };
                let score = logit(first, 0) + logit(last, 1);
                if best.is_none_or(|(highest, _, _)| score > highest) {
                    best = Some((score, *start, *end));
                }
            }
        }
    }
    let (score, start, end) = best?;
    let probability = (f64::from(score) - log_sum(windows, 0) - log_sum(windows, 1)).exp() as f32;
    Some(Span { text: characters(text, start, end), start, end, probability })
}

/// ln of the sum of exp over all tokens of the text in all windows.
fn log_sum(windows: &[(Places<'_>, &[f32])], side: usize) -> f64 {
    let values: Vec<f64> = windows
        .iter()
        .flat_map(|(places, logits)| {
            let inside = places.iter().enumerate().filter(|(_, place)| place.is_some());
            inside.filter_map(move |(token, _)| logits.get(2 * token + side)).map(|value| f64::from(*value))
        })
        .collect();
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_span_lies_in_the_text_and_does_not_run_backwards() {
        let places = [None, None, Some((0, 3)), Some((4, 7)), Some((8, 11))];
        // The special tokens have the highest logits; the last word would begin, the first one end.
        let logits = [9.0, 9.0, 9.0, 9.0, 0.0, 3.0, 2.0, 2.0, 4.0, 0.5];
        let span = best_span("one two six", &[(&places, &logits)]).expect("a span");
        assert_eq!((span.text.as_str(), span.start, span.end), ("six", 8, 11));
        assert!(span.probability > 0.0 && span.probability < 1.0);
    }
}
