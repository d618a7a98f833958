//! How high what belongs to a query is ranked.

/// The rank, from 1, of the candidate `target` by score; candidates with an equal score are counted before it, so
/// that a model that answers the same to everything is not taken for a good one.
pub fn rank(scores: &[f64], target: usize) -> usize {
    let of_target = scores.get(target).copied().unwrap_or(f64::NEG_INFINITY);
    // An answer that is no number must rank last.
    let is_worse = |score: f64| score < of_target;
    let not_worse = |(place, score): &(usize, &f64)| *place != target && !is_worse(**score);
    1 + scores.iter().enumerate().filter(not_worse).count()
}

/// Share of the ranks that are not below `k`.
pub fn recall_at(ranks: &[usize], k: usize) -> f64 {
    ranks.iter().filter(|rank| **rank <= k).count() as f64 / ranks.len() as f64
}

/// Mean of 1 / rank.
pub fn mean_reciprocal_rank(ranks: &[usize]) -> f64 {
    ranks.iter().map(|rank| 1.0 / *rank as f64).sum::<f64>() / ranks.len() as f64
}
