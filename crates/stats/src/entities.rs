//! Entities in sequences of tags, and how many of them were found.

use std::collections::BTreeMap;

/// A run of words that are one entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntitySpan {
    /// What it is, such as `PER`.
    pub kind: String,
    /// Its first word.
    pub start: usize,
    /// One after its last word.
    pub end: usize,
}

/// Entities of one kind, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntityCounts {
    /// Found with the right kind and both right ends.
    pub correct: u64,
    /// Found.
    pub predicted: u64,
    /// There.
    pub actual: u64,
}

impl EntityCounts {
    /// Adds the counts of other words.
    pub fn add(&mut self, other: Self) {
        self.correct += other.correct;
        self.predicted += other.predicted;
        self.actual += other.actual;
    }

    /// Share of what was found that is right; 0 when nothing was found.
    pub fn precision(&self) -> f64 {
        share(self.correct, self.predicted)
    }

    /// Share of what is there that was found; 0 when nothing is there.
    pub fn recall(&self) -> f64 {
        share(self.correct, self.actual)
    }

    /// Harmonic mean of the two.
    pub fn f1(&self) -> f64 {
        share(2 * self.correct, self.predicted + self.actual)
    }
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

/// The entities of tags in the schemes IOB1, IOB2 and IOBES. What breaks the scheme is mended as `conlleval` and
/// seqeval's default mode do: an `I-` after `O` or after another kind begins an entity.
pub fn entities<T: AsRef<str>>(tags: &[T]) -> Vec<EntitySpan> {
    let mut found = Vec::new();
    let (mut before, mut kind_before, mut start) = ('O', "", 0);
    let outside = std::iter::once("O");
    for (place, tag) in tags.iter().map(AsRef::as_ref).chain(outside).enumerate() {
        let (part, kind) = split(tag);
        let changed = kind_before != kind;
        let ends = matches!(before, 'E' | 'S')
            || (matches!(before, 'B' | 'I') && matches!(part, 'B' | 'S' | 'O'))
            || (before != 'O' && changed);
        if ends {
            found.push(EntitySpan { kind: kind_before.to_owned(), start, end: place });
        }
        let starts = matches!(part, 'B' | 'S')
            || (matches!(before, 'E' | 'S' | 'O') && matches!(part, 'E' | 'I'))
            || (part != 'O' && changed);
        if starts {
            start = place;
        }
        (before, kind_before) = (part, kind);
    }
    found
}

/// `B-PER` as `('B', "PER")`; a tag without a kind has the kind `_`.
fn split(tag: &str) -> (char, &str) {
    let part = tag.chars().next().unwrap_or('O');
    let rest = tag.get(part.len_utf8()..).unwrap_or("");
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    let part = if matches!(part, 'B' | 'I' | 'E' | 'S') { part } else { 'O' };
    (part, if kind.is_empty() || part == 'O' { "_" } else { kind })
}

/// Counts by kind of the entities in one sequence of words.
pub fn entity_counts(truth: &[EntitySpan], predicted: &[EntitySpan]) -> BTreeMap<String, EntityCounts> {
    let mut counts: BTreeMap<String, EntityCounts> = BTreeMap::new();
    for span in truth {
        counts.entry(span.kind.clone()).or_default().actual += 1;
    }
    for span in predicted {
        let of_kind = counts.entry(span.kind.clone()).or_default();
        of_kind.predicted += 1;
        of_kind.correct += u64::from(truth.contains(span));
    }
    counts
}
