//! How much of two texts is the same: sets of runs of letters, and sketches that find similar sets without
//! comparing all pairs.
//!
//! A sketch is one-permutation MinHash (Li, Owen & Zhang 2012) with optimal densification (Shrivastava
//! 2017): each of its places agrees for two sets with a probability of their Jaccard similarity. Places go
//! together in bands: two sets are candidates when a band agrees (locality-sensitive hashing). With 16 bands
//! of 5 places a pair of similarity 0.8 becomes one with a probability of 0.998, one of 0.9 with 1 - 3e-7,
//! one of 0.3 with 0.04, one of 0.1 with 0.0002.

/// Letters in a shingle.
const LETTERS: usize = 5;
/// Bands of a sketch.
pub const BANDS: usize = 16;
/// Places of a band.
const PLACES: usize = 5;

/// Hashes of the runs of five letters of a text, sorted, each once; of a shorter text the whole.
pub fn shingles(text: &str) -> Vec<u32> {
    let mut hashes = Vec::with_capacity(text.len());
    each_run(text, |hash| hashes.push(hash));
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// The bands of the sketch of a text's [`shingles`], which need not be sorted for it; of an empty set all are zero.
pub fn bands_of_text(text: &str) -> [u32; BANDS] {
    let mut sketch = Sketch::default();
    each_run(text, |hash| sketch.add(hash));
    sketch.bands()
}

/// Hashes of the runs of five letters of a text in their order; of a shorter text the whole.
fn each_run(text: &str, mut tell: impl FnMut(u32)) {
    /// Of the polynomial that rolls over the letters.
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
    let leaving = BASE.wrapping_pow(LETTERS as u32);
    let mut run = [0; LETTERS];
    let (mut rolled, mut letters) = (0u64, 0);
    for letter in text.chars().map(|letter| u64::from(u32::from(letter)) + 1) {
        let place = letters % LETTERS;
        rolled = rolled.wrapping_mul(BASE).wrapping_add(letter);
        rolled = rolled.wrapping_sub(leaving.wrapping_mul(std::mem::replace(&mut run[place], letter)));
        letters += 1;
        if letters >= LETTERS {
            tell(mix(rolled) as u32);
        }
    }
    if letters < LETTERS {
        tell(mix(rolled) as u32);
    }
}

/// Part of two sorted sets that is in both, of what is in either: 1 for equal sets, 0 for two empty ones.
pub fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0);
    while let (Some(left), Some(right)) = (a.get(i), b.get(j)) {
        both += usize::from(left == right);
        i += usize::from(left <= right);
        j += usize::from(right <= left);
    }
    both as f64 / (a.len() + b.len() - both).max(1) as f64
}

/// The least hash of each part of a set.
struct Sketch {
    /// [`u32::MAX`] stands for an empty place.
    places: [u32; BANDS * PLACES],
    is_empty: bool,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { places: [u32::MAX; BANDS * PLACES], is_empty: true }
    }
}

impl Sketch {
    /// Adding one twice changes nothing.
    fn add(&mut self, shingle: u32) {
        let hash = mix(u64::from(shingle));
        let place = (((hash >> 32) * self.places.len() as u64) >> 32) as usize;
        self.places[place] = self.places[place].min((hash as u32).min(u32::MAX - 1));
        self.is_empty = false;
    }

    fn bands(mut self) -> [u32; BANDS] {
        if self.is_empty {
            return [0; BANDS];
        }
        let filled = self.places;
        for (place, value) in self.places.iter_mut().enumerate() {
            let mut attempt = 0;
            while *value == u32::MAX {
                attempt += 1;
                let from = mix(((place as u64) << 32) | attempt) >> 32;
                *value = filled[((from * filled.len() as u64) >> 32) as usize];
            }
        }
        std::array::from_fn(|band| {
            let values = &self.places[band * PLACES..(band + 1) * PLACES];
            (values.iter().fold(band as u64, |hash, value| mix(hash ^ u64::from(*value))) >> 16) as u32
        })
    }
}

/// The finalizer of splitmix64 (Steele, Lea & Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bands(shingles: &[u32]) -> [u32; BANDS] {
        let mut sketch = Sketch::default();
        shingles.iter().for_each(|shingle| sketch.add(*shingle));
        sketch.bands()
    }

    #[test]
    fn jaccard_of_small_sets() {
        assert_eq!(jaccard(&[1, 2, 3], &[2, 3, 4]), 0.5);
        assert_eq!(jaccard(&[1, 2], &[1, 2]), 1.0);
        assert_eq!(jaccard(&[1], &[2]), 0.0);
        assert_eq!(jaccard(&[], &[]), 0.0);
        assert_eq!(shingles("abcdef").len(), 2);
        assert_eq!(shingles("xyabcde")[..].iter().filter(|h| shingles("abcde").contains(h)).count(), 1);
        assert_eq!(shingles("aaaaaaaa").len(), 1);
        assert_ne!(shingles("ab"), shingles("ac"));
        assert_eq!(bands(&[]), [0; BANDS]);
        for text in
            ["", "abc", "abcde", "the film the film the film", "\u{e4}\u{1f600} \u{4e2d}\u{6587} and so on"]
        {
            assert_eq!(bands_of_text(text), bands(&shingles(text)), "{text}");
        }
    }

    /// Candidates as often as the formula `1 - (1 - s^5)^16` says, over sets of a known similarity.
    #[test]
    fn candidates_come_with_the_probability_of_the_formula() {
        for (shared, own) in [(180, 20), (160, 20), (160, 40), (120, 80), (60, 140)] {
            let similarity = f64::from(shared) / f64::from(shared + 2 * own);
            let rounds = 2000;
            let hits = (0..rounds)
                .filter(|round| {
                    let set = |of: u32| -> Vec<u32> {
                        let number = |i: u32| mix(u64::from(round * 1000 + i)) as u32;
                        (0..shared).map(number).chain((0..own).map(|i| number(of + i))).collect()
                    };
                    let (a, b) = (bands(&set(300)), bands(&set(600)));
                    a.iter().zip(&b).any(|(a, b)| a == b)
                })
                .count();
            let expected = 1.0 - (1.0 - similarity.powi(PLACES as i32)).powi(BANDS as i32);
            let found = hits as f64 / f64::from(rounds);
            // Four standard errors of a share of 2000.
            assert!(
                (found - expected).abs() < 0.045,
                "similarity {similarity}: {found}, {expected} expected"
            );
        }
    }
}
