//! Confidence intervals of a proportion.

use serde::{Deserialize, Serialize};

use crate::distribution::{binomial_lower_tail, binomial_upper_tail, bisect, normal_quantile};
use crate::error::{StatsError, check_open_unit, check_trials};

/// An estimate with the ends of its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The point estimate.
    pub estimate: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Nominal coverage of the interval, e.g. 0.95.
    pub confidence: f64,
}

impl Interval {
    /// Whether `value` lies between the ends, both included.
    pub fn contains(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} [{:.3}, {:.3}]", self.estimate, self.lower, self.upper)
    }
}

/// Wilson's score interval of `successes / trials`: close to nominal coverage on average, the
/// right one to show (Wilson 1927; Brown, Cai and DasGupta 2001).
pub fn wilson(successes: u64, trials: u64, confidence: f64) -> Result<Interval, StatsError> {
    check_trials("the sample", successes, trials)?;
    check_open_unit("confidence", confidence)?;
    let z = normal_quantile(0.5 + confidence / 2.0);
    let n = trials as f64;
    let p = successes as f64 / n;
    let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let lower = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let upper = if successes == trials { 1.0 } else { (centre + half).min(1.0) };
    Ok(Interval { estimate: p, lower, upper, confidence })
}

/// Clopper and Pearson's exact interval of `successes / trials`: covers at least `confidence`
/// whatever the truth, the right one to decide on.
pub fn clopper_pearson(successes: u64, trials: u64, confidence: f64) -> Result<Interval, StatsError> {
    check_trials("the sample", successes, trials)?;
    check_open_unit("confidence", confidence)?;
    let tail = (1.0 - confidence) / 2.0;
    Ok(Interval {
        estimate: successes as f64 / trials as f64,
        lower: exact_lower(successes, trials, tail),
        upper: exact_upper(successes, trials, tail),
        confidence,
    })
}

/// The exact one-sided upper bound of a proportion: it lies below the truth with a probability of
/// at most `miss`.
pub fn clopper_pearson_upper(successes: u64, trials: u64, miss: f64) -> Result<f64, StatsError> {
    check_trials("the sample", successes, trials)?;
    check_open_unit("miss", miss)?;
    Ok(exact_upper(successes, trials, miss))
}

/// The p at which seeing `successes` or more has probability `tail`.
fn exact_lower(successes: u64, trials: u64, tail: f64) -> f64 {
    if successes == 0 {
        return 0.0;
    }
    bisect(0.0, 1.0, |p| binomial_upper_tail(successes, trials, p) - tail)
}

/// The p at which seeing `successes` or fewer has probability `tail`.
fn exact_upper(successes: u64, trials: u64, tail: f64) -> f64 {
    if successes == trials {
        return 1.0;
    }
    bisect(0.0, 1.0, |p| tail - binomial_lower_tail(successes, trials, p))
}
