//! Do stated confidences come true?

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, basic_interval, resample};
use crate::error::StatsError;
use crate::interval::{Interval, wilson};
use crate::sampler::Sampler;

/// Calibration of the confidence in the predicted class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error of the sample, the mean over rows of |accuracy - confidence| of
    /// their bin (Guo et al. 2017). Chance alone makes it positive.
    pub plug_in_error: f64,
    /// The same with the bias of chance taken off, and its basic bootstrap interval, both cut at 0.
    /// The interval reaches down to 0 unless `perfect_p_value` rules perfect calibration out.
    pub error: Interval,
    /// Probability of a `plug_in_error` this large if every confidence were true, by consistency
    /// resampling: labels drawn from the confidences (Bröcker and Smith 2007).
    pub perfect_p_value: f64,
    /// The bins that hold rows, by rising confidence.
    pub bins: Vec<ReliabilityBin>,
}

/// One bar of a reliability plot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Lowest confidence of the bin.
    pub from: f64,
    /// Highest confidence of the bin.
    pub to: f64,
    /// Rows in it.
    pub rows: u64,
    /// Their mean confidence.
    pub confidence: f64,
    /// Their accuracy with Wilson's interval.
    pub accuracy: Interval,
}

/// Calibration over `bins` bins of equal width; `confidences[i]` is the probability given to the
/// predicted class of row i and `correct[i]` whether it was the true one.
pub fn calibration(
    confidences: &[f64],
    correct: &[bool],
    bins: usize,
    settings: &Bootstrap,
) -> Result<Calibration, StatsError> {
    check(confidences, correct, bins)?;
    let rows: Vec<(usize, f64, f64)> = confidences
        .iter()
        .zip(correct)
        .map(|(&confidence, &right)| (bin_of(confidence, bins), confidence, f64::from(u8::from(right))))
        .collect();
    let plug_in_error = expected_error(rows.iter().copied(), bins);
    let draws =
        resample(rows.len(), settings, |drawn| expected_error(drawn.iter().map(|&row| rows[row]), bins))?;
    let bias = draws.iter().sum::<f64>() / draws.len() as f64 - plug_in_error;
    let pivot = basic_interval(plug_in_error, &draws, settings.confidence);
    let perfect_p_value = perfect_p_value(&rows, bins, plug_in_error, settings);
    let could_be_perfect = perfect_p_value > 1.0 - settings.confidence;
    let cut = |value: f64| value.clamp(0.0, 1.0);
    let error = Interval {
        estimate: cut(plug_in_error - bias),
        // The bootstrap fails at the boundary, where the error is 0; the exact test stands in.
        lower: if could_be_perfect { 0.0 } else { cut(pivot.lower) },
        upper: cut(pivot.upper),
        confidence: settings.confidence,
    };
    Ok(Calibration {
        plug_in_error,
        error,
        perfect_p_value,
        bins: reliability(&rows, bins, settings.confidence)?,
    })
}

fn check(confidences: &[f64], correct: &[bool], bins: usize) -> Result<(), StatsError> {
    if confidences.len() != correct.len() {
        return Err(StatsError::LengthsDiffer {
            left: "confidences",
            left_len: confidences.len(),
            right: "correct",
            right_len: correct.len(),
        });
    }
    if bins == 0 {
        return Err(StatsError::OutOfRange { name: "bins", value: 0.0, expected: "at least 1" });
    }
    // Softmax in float32 may end a little above 1.
    match confidences.iter().find(|confidence| !(0.0..=1.0 + 1e-4).contains(*confidence)) {
        Some(&value) => {
            Err(StatsError::OutOfRange { name: "confidence", value, expected: "between 0 and 1" })
        }
        None => Ok(()),
    }
}

/// Bins are open below and closed above, the first closed on both sides.
fn bin_of(confidence: f64, bins: usize) -> usize {
    ((confidence * bins as f64).ceil() as usize).saturating_sub(1).min(bins - 1)
}

fn expected_error(rows: impl Iterator<Item = (usize, f64, f64)>, bins: usize) -> f64 {
    let mut gaps = vec![0.0; bins];
    let mut count = 0usize;
    for (bin, confidence, right) in rows {
        gaps[bin] += right - confidence;
        count += 1;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / count.max(1) as f64
}

fn perfect_p_value(rows: &[(usize, f64, f64)], bins: usize, seen: f64, settings: &Bootstrap) -> f64 {
    let mut sampler = Sampler::new(settings.seed);
    let as_large = (0..settings.resamples)
        .filter(|_| {
            let redrawn = rows.iter().map(|&(bin, confidence, _)| {
                (bin, confidence, f64::from(u8::from(sampler.uniform() <= confidence)))
            });
            expected_error(redrawn, bins) >= seen
        })
        .count();
    (as_large + 1) as f64 / (settings.resamples + 1) as f64
}

fn reliability(
    rows: &[(usize, f64, f64)],
    bins: usize,
    confidence: f64,
) -> Result<Vec<ReliabilityBin>, StatsError> {
    let mut sums = vec![(0u64, 0.0, 0u64); bins];
    for &(bin, stated, right) in rows {
        sums[bin].0 += 1;
        sums[bin].1 += stated;
        sums[bin].2 += right as u64;
    }
    sums.iter()
        .enumerate()
        .filter(|(_, sum)| sum.0 > 0)
        .map(|(bin, &(count, stated, right))| {
            Ok(ReliabilityBin {
                from: bin as f64 / bins as f64,
                to: (bin + 1) as f64 / bins as f64,
                rows: count,
                confidence: stated / count as f64,
                accuracy: wilson(right, count, confidence)?,
            })
        })
        .collect()
}
