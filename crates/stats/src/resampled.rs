//! What a mean over folds says about models trained on such data.

use crate::distribution::student_t_quantile;
use crate::error::{StatsError, check_open_unit};
use crate::interval::Interval;

/// The mean of a score over folds with the corrected resampled t interval (Nadeau and Bengio 2003): the
/// training rows of folds overlap, so the usual variance `s^2 / k` is too small and becomes
/// `(1/k + test/train) s^2`, where `test_to_train` is the rows tested over the rows trained on in one fold
/// (1 / (k - 1) for k folds).
pub fn corrected_mean(scores: &[f64], test_to_train: f64, confidence: f64) -> Result<Interval, StatsError> {
    check_open_unit("confidence", confidence)?;
    if scores.len() < 2 {
        return Err(StatsError::OutOfRange {
            name: "the number of folds",
            value: scores.len() as f64,
            expected: "at least 2",
        });
    }
    if !(test_to_train.is_finite() && test_to_train >= 0.0) {
        return Err(StatsError::OutOfRange {
            name: "test_to_train",
            value: test_to_train,
            expected: "at least 0",
        });
    }
    let count = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / count;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = student_t_quantile(0.5 + confidence / 2.0, count - 1.0)
        * ((1.0 / count + test_to_train) * variance).sqrt();
    Ok(Interval { estimate: mean, lower: mean - half, upper: mean + half, confidence })
}
