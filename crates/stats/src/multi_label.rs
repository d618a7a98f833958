//! Metrics where a row may have several labels, or none.

/// Counts of one label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LabelCounts {
    /// Rows that have it and were given it.
    pub correct: u64,
    /// Rows that were given it.
    pub predicted: u64,
    /// Rows that have it.
    pub actual: u64,
}

impl LabelCounts {
    /// Harmonic mean of precision and recall; 0 where the label neither occurs nor is given.
    pub fn f1(&self) -> f64 {
        let of = self.predicted + self.actual;
        if of == 0 { 0.0 } else { (2 * self.correct) as f64 / of as f64 }
    }
}

/// Counts of each label over rows of (labels that it has, labels that it was given), one flag a label.
pub fn label_counts<'a>(
    labels: usize,
    rows: impl IntoIterator<Item = (&'a [bool], &'a [bool])>,
) -> Vec<LabelCounts> {
    let mut counts = vec![LabelCounts::default(); labels];
    for (truth, given) in rows {
        for ((counts, &truth), &given) in counts.iter_mut().zip(truth).zip(given) {
            counts.correct += u64::from(truth && given);
            counts.predicted += u64::from(given);
            counts.actual += u64::from(truth);
        }
    }
    counts
}

/// F1 of all decisions together.
pub fn f1_micro(counts: &[LabelCounts]) -> f64 {
    let sum = |of: fn(&LabelCounts) -> u64| counts.iter().map(of).sum();
    LabelCounts { correct: sum(|c| c.correct), predicted: sum(|c| c.predicted), actual: sum(|c| c.actual) }
        .f1()
}

/// Unweighted mean of the labels' F1, what is undefined counting as 0 (scikit-learn's `zero_division=0`).
pub fn f1_macro(counts: &[LabelCounts]) -> f64 {
    counts.iter().map(LabelCounts::f1).sum::<f64>() / counts.len() as f64
}

/// Average precision of a ranking by score: sum over thresholds of (recall gained) x precision, rows of equal score
/// being taken together (scikit-learn's definition). NaN where no row is positive.
pub fn average_precision(scores: &[f64], truth: &[bool]) -> f64 {
    let positives = truth.iter().filter(|truth| **truth).count() as f64;
    if positives == 0.0 {
        return f64::NAN;
    }
    let mut order: Vec<usize> = (0..scores.len().min(truth.len())).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut taken, mut hits, mut sum) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let gained = tied.iter().filter(|&&row| truth[row]).count() as f64;
        taken += tied.len() as f64;
        hits += gained;
        sum += gained / positives * (hits / taken);
    }
    sum
}
