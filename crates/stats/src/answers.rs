//! Exact match and F1 of answers to questions, as the evaluation script of SQuAD 1.1 defines them
//! (Rajpurkar et al. 2016).

use std::collections::HashMap;

/// Lower case, without ASCII punctuation, the articles a, an and the, and needless white space.
pub fn normalize_answer(answer: &str) -> String {
    let plain: String = answer.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let words = plain.split_whitespace().filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.collect::<Vec<_>>().join(" ")
}

/// 1 if the answer is one of the right ones, normalized, else 0.
pub fn exact_match(answer: &str, right: &[String]) -> f64 {
    let answer = normalize_answer(answer);
    f64::from(u8::from(right.iter().any(|right| normalize_answer(right) == answer)))
}

/// The largest F1 of the answer's words against those of a right answer.
pub fn answer_f1(answer: &str, right: &[String]) -> f64 {
    right
        .iter()
        .map(|right| words_f1(&normalize_answer(answer), &normalize_answer(right)))
        .fold(0.0, f64::max)
}

fn words_f1(answer: &str, right: &str) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    right.split(' ').filter(|word| !word.is_empty()).for_each(|word| *left.entry(word).or_default() += 1);
    let expected: usize = left.values().sum();
    let (mut given, mut common) = (0, 0);
    for word in answer.split(' ').filter(|word| !word.is_empty()) {
        given += 1;
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 { 0.0 } else { 2.0 * common as f64 / (given + expected) as f64 }
}
