//! Changed texts of training rows: left-out words, exchanged words, noise in letters (Wei & Zou 2019,
//! arXiv:1901.11196; Belinkov & Bisk 2018, arXiv:1711.02173).
//!
//! A row is changed when it is its turn, from the run's seed, the step and the row alone: a run that was
//! interrupted goes on with the same texts. Batches are planned by the lengths of the texts as they are.

use crate::TrainError;
use crate::data::Rows;
use crate::examples::Example;
use crate::task::Task;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use refit_preprocess::TextPreprocessor;
use refit_spec::Augment;

/// Makes examples of changed rows.
pub struct Augmenter<'a> {
    /// The training rows; a row's number is its example's.
    pub rows: &'a Rows,
    /// What makes examples of them.
    pub task: &'a dyn Task,
    /// What makes tokens of them.
    pub preprocessor: &'a TextPreprocessor,
    /// How much is changed.
    pub shares: Augment,
    /// The run's seed.
    pub seed: u64,
}

impl Augmenter<'_> {
    /// The examples of these rows at one step.
    ///
    /// # Errors
    /// When rows cannot be read, or a task makes several examples of a row.
    pub fn examples(&self, rows: &[usize], step: usize) -> Result<Vec<Example>, TrainError> {
        let changed = rows.iter().enumerate().map(|(place, &row)| {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ 0x6175_676d_656e_7400);
            random.set_stream((step as u64) << 32 | row as u64 & 0xffff_ffff);
            // A row may come twice in a batch.
            random.set_word_pos((place as u128) << 24);
            let mut row = self.rows.get(row)?;
            row.text = augmented(&row.text, &self.shares, &mut random);
            Ok(row)
        });
        let changed = changed.collect::<Result<Vec<_>, TrainError>>()?;
        let examples = self.task.examples(&changed, self.preprocessor)?;
        if examples.len() != rows.len() {
            let needs = "tasks with one example a row";
            return Err(TrainError::NotForTask { key: "augment", needs });
        }
        Ok(examples)
    }
}

/// A text with changes drawn from `random`; words are what white space divides, and are joined by blanks
/// where something changed. A text of one word keeps it.
fn augmented(text: &str, shares: &Augment, random: &mut ChaCha8Rng) -> String {
    if random.random_bool(shares.none) {
        return text.to_owned();
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut kept: Vec<&str> =
        words.iter().filter(|_| !random.random_bool(shares.token_dropout)).copied().collect();
    if kept.is_empty() {
        kept.extend(words.get(random.random_range(0..words.len().max(1))));
    }
    let mut place = 0;
    while place + 1 < kept.len() {
        if random.random_bool(shares.word_swap) {
            kept.swap(place, place + 1);
            place += 1;
        }
        place += 1;
    }
    let text = kept.join(" ");
    if shares.char_noise > 0.0 { noisy(&text, shares.char_noise, random) } else { text }
}

/// Letters left out, doubled, or changed with the next, each as often.
fn noisy(text: &str, share: f64, random: &mut ChaCha8Rng) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut noisy = String::with_capacity(text.len() + 8);
    let mut place = 0;
    while let Some(&letter) = letters.get(place) {
        place += 1;
        if !letter.is_alphanumeric() || !random.random_bool(share) {
            noisy.push(letter);
            continue;
        }
        match (random.random_range(0..3), letters.get(place).filter(|next| next.is_alphanumeric())) {
            (0, _) if letters.len() > 1 => {}
            (1, Some(&next)) => {
                noisy.extend([next, letter]);
                place += 1;
            }
            _ => noisy.extend([letter, letter]),
        }
    }
    noisy
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Augment = Augment { token_dropout: 0.0, word_swap: 0.0, char_noise: 0.0, none: 0.0 };

    fn random(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    fn text() -> String {
        (0..2000).map(|i| format!("word{i} ")).collect::<String>().trim_end().to_owned()
    }

    #[test]
    fn shares_are_kept() {
        let text = text();
        let dropped = augmented(&text, &Augment { token_dropout: 0.2, ..NOTHING }, &mut random(1));
        let left = dropped.split(' ').count();
        // 1600 expected; the standard deviation is 18.
        assert!((1530..1670).contains(&left), "{left}");

        let swapped = augmented(&text, &Augment { word_swap: 0.1, ..NOTHING }, &mut random(1));
        let (a, b): (Vec<_>, Vec<_>) = (text.split(' ').collect(), swapped.split(' ').collect());
        let moved = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        // Of 2000 places some 1818 are asked, and each exchange moves two words.
        assert!((300..430).contains(&moved), "{moved}");
        let mut sorted = b.clone();
        sorted.sort_unstable();
        let mut expected = a.clone();
        expected.sort_unstable();
        assert_eq!(sorted, expected, "no word is lost");

        let noisy = augmented(&text, &Augment { char_noise: 0.05, ..NOTHING }, &mut random(1));
        let same = a.iter().zip(noisy.split(' ')).filter(|(a, b)| *a == b).count();
        // Some 7.4 letters a word, each kept with 0.95.
        assert!((1200..1500).contains(&same), "{same}");

        let some = Augment { token_dropout: 0.5, none: 0.7, ..NOTHING };
        let unchanged = (0..1000)
            .filter(|&seed| augmented("a b c d e f g h", &some, &mut random(seed)) == "a b c d e f g h");
        let unchanged = unchanged.count();
        assert!((640..770).contains(&unchanged), "{unchanged}");
    }

    #[test]
    fn odd_texts_stay_texts() {
        let most = Augment { token_dropout: 0.9, word_swap: 0.9, char_noise: 0.9, none: 0.0 };
        for text in ["", " ", "a", "\u{1f600}", "é\u{301}", "日本語のテキスト", "a\tb\nc"] {
            for seed in 0..50 {
                let changed = augmented(text, &most, &mut random(seed));
                assert_eq!(changed.trim().is_empty(), text.trim().is_empty(), "{text:?} {changed:?}");
                assert_eq!(changed, augmented(text, &most, &mut random(seed)), "a seed gives one text");
            }
        }
    }
}
