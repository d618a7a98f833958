//! Many tests at once.

/// Benjamini and Hochberg's adjusted p-values (1995), in the order given: rejecting those at or
/// below `q` keeps the expected share of false alarms among all alarms at or below `q`; when nothing
/// at all has changed, that is the probability of any alarm. NaN counts as 1.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let count = p_values.len() as f64;
    let valid = |p: f64| if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) };
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| valid(p_values[b]).total_cmp(&valid(p_values[a])));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut smallest: f64 = 1.0;
    for (from_largest, &index) in order.iter().enumerate() {
        let rank = count - from_largest as f64;
        smallest = smallest.min(valid(p_values[index]) * count / rank);
        adjusted[index] = smallest;
    }
    adjusted
}
