//! The bootstrap: intervals for statistics that have no formula of their own.

use serde::{Deserialize, Serialize};

use crate::error::{StatsError, check_open_unit};
use crate::interval::Interval;
use crate::sampler::Sampler;

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// How many resamples to draw.
    pub resamples: usize,
    /// Nominal coverage of the intervals.
    pub confidence: f64,
    /// Fixes the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, confidence: 0.95, seed: 17 }
    }
}

/// Draws `rows` indices with replacement, `settings.resamples` times, and collects the statistic of
/// each draw (Efron 1979).
pub fn resample<S>(
    rows: usize,
    settings: &Bootstrap,
    mut statistic: impl FnMut(&[usize]) -> S,
) -> Result<Vec<S>, StatsError> {
    if rows == 0 {
        return Err(StatsError::NoObservations { sample: "the sample to resample" });
    }
    if settings.resamples < 2 {
        return Err(StatsError::OutOfRange {
            name: "resamples",
            value: settings.resamples as f64,
            expected: "at least 2",
        });
    }
    check_open_unit("confidence", settings.confidence)?;
    let mut sampler = Sampler::new(settings.seed);
    let mut drawn = vec![0; rows];
    Ok((0..settings.resamples)
        .map(|_| {
            drawn.iter_mut().for_each(|slot| *slot = sampler.index(rows));
            statistic(&drawn)
        })
        .collect())
}

/// The interval between the tails of the resampled statistic. NaN draws (a resample in which the
/// statistic is undefined) are left out.
pub fn percentile_interval(estimate: f64, draws: &[f64], confidence: f64) -> Interval {
    let (lower, upper) = tails(draws, confidence).unwrap_or((estimate, estimate));
    Interval { estimate, lower, upper, confidence }
}

/// The basic (pivotal) interval, 2 x estimate - tails: the one for statistics with a bias, such as
/// a calibration error, whose resamples are biased once more (Davison and Hinkley 1997, 5.2).
pub fn basic_interval(estimate: f64, draws: &[f64], confidence: f64) -> Interval {
    let (lower, upper) = tails(draws, confidence).unwrap_or((estimate, estimate));
    Interval { estimate, lower: 2.0 * estimate - upper, upper: 2.0 * estimate - lower, confidence }
}

fn tails(draws: &[f64], confidence: f64) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = draws.iter().copied().filter(|draw| !draw.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    Some((quantile(&sorted, tail)?, quantile(&sorted, 1.0 - tail)?))
}

/// Quantile of sorted values with linear interpolation (numpy's default, Hyndman and Fan type 7).
pub(crate) fn quantile(sorted: &[f64], probability: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = probability.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (position - below as f64) * (sorted[above] - sorted[below]))
}
