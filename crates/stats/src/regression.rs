//! How well predicted numbers follow the true ones.

/// Pearson's correlation; NaN where one of the two is constant.
pub fn pearson(left: &[f64], right: &[f64]) -> f64 {
    let (mean_left, mean_right) = (mean(left), mean(right));
    let (mut both, mut square_left, mut square_right) = (0.0, 0.0, 0.0);
    for (l, r) in left.iter().zip(right) {
        both += (l - mean_left) * (r - mean_right);
        square_left += (l - mean_left).powi(2);
        square_right += (r - mean_right).powi(2);
    }
    if square_left == 0.0 || square_right == 0.0 {
        return f64::NAN;
    }
    (both / (square_left.sqrt() * square_right.sqrt())).clamp(-1.0, 1.0)
}

/// Spearman's correlation: Pearson's of the ranks, equal values sharing the mean of theirs.
pub fn spearman(left: &[f64], right: &[f64]) -> f64 {
    pearson(&ranks(left), &ranks(right))
}

/// Coefficient of determination, 1 - residual / total sum of squares; NaN where the truth is constant.
pub fn r2(truth: &[f64], predicted: &[f64]) -> f64 {
    let mean = mean(truth);
    let total: f64 = truth.iter().map(|value| (value - mean).powi(2)).sum();
    let residual: f64 = truth.iter().zip(predicted).map(|(t, p)| (t - p).powi(2)).sum();
    if total == 0.0 { f64::NAN } else { 1.0 - residual / total }
}

/// Mean of |truth - predicted|.
pub fn mean_absolute_error(truth: &[f64], predicted: &[f64]) -> f64 {
    truth.iter().zip(predicted).map(|(t, p)| (t - p).abs()).sum::<f64>() / truth.len() as f64
}

/// Root of the mean of (truth - predicted)^2.
pub fn root_mean_squared_error(truth: &[f64], predicted: &[f64]) -> f64 {
    (truth.iter().zip(predicted).map(|(t, p)| (t - p).powi(2)).sum::<f64>() / truth.len() as f64).sqrt()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        tied.iter().for_each(|&place| ranks[place] = before as f64 + (tied.len() as f64 + 1.0) / 2.0);
        before += tied.len();
    }
    ranks
}
