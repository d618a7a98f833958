//! Two models on the same rows.

use serde::{Deserialize, Serialize};

use crate::distribution::{binomial_lower_tail, bisect, ln_binomial_mass, normal_quantile};
use crate::error::{StatsError, check_open_unit};
use crate::interval::{Interval, clopper_pearson};

/// Half of the confidence that the nuisance parameter's interval is not given (Berger and Boos).
const NUISANCE_MISS: f64 = 1e-4;
/// Points at which the nuisance parameter is tried.
const NUISANCE_POINTS: usize = 60;

/// How two models fared on the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PairedCounts {
    /// Both right.
    pub both_right: u64,
    /// Only the champion right.
    pub champion_only: u64,
    /// Only the challenger right.
    pub challenger_only: u64,
    /// Both wrong.
    pub both_wrong: u64,
}

/// Whether a challenger is no worse than the champion by more than a margin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NonInferiority {
    /// Loss of accuracy that is tolerated.
    pub margin: f64,
    /// Challenger's accuracy less the champion's, with its score interval.
    pub difference: Interval,
    /// Exact p-value against "the challenger is worse by the margin or more".
    pub p_value: f64,
}

impl PairedCounts {
    /// Counts from pairs of (champion right, challenger right), row by row.
    pub fn from_outcomes(outcomes: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            match outcome {
                (true, true) => counts.both_right += 1,
                (true, false) => counts.champion_only += 1,
                (false, true) => counts.challenger_only += 1,
                (false, false) => counts.both_wrong += 1,
            }
        }
        counts
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.both_right + self.champion_only + self.challenger_only + self.both_wrong
    }

    /// Challenger's accuracy less the champion's.
    pub fn difference(&self) -> f64 {
        (self.challenger_only as f64 - self.champion_only as f64) / self.rows().max(1) as f64
    }
}

/// McNemar's exact two-sided p-value that two models are equally often right; 1 when they never
/// disagree. `only_first` and `only_second` are the rows that one model alone got right.
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    let discordant = only_first + only_second;
    (2.0 * binomial_lower_tail(only_first.min(only_second), discordant, 0.5)).min(1.0)
}

/// Paired exact test of non-inferiority: small p-values show that the challenger loses less than
/// `margin` of accuracy; with a margin of 0, that it is better.
///
/// Outcomes are ordered by the score statistic of Tango (1998). The p-value is the largest
/// probability, over all rates of disagreement in a 1 - 2e-4 confidence interval, of an outcome at
/// least as good under a loss of exactly `margin`, plus that 2e-4 (Berger and Boos 1994): so it is
/// valid for every sample size, few disagreements included. Work grows with the rows' square root.
pub fn non_inferiority(
    counts: PairedCounts,
    margin: f64,
    confidence: f64,
) -> Result<NonInferiority, StatsError> {
    if counts.rows() == 0 {
        return Err(StatsError::NoObservations { sample: "the paired comparison" });
    }
    if !(0.0..1.0).contains(&margin) {
        return Err(StatsError::OutOfRange {
            name: "margin",
            value: margin,
            expected: "at least 0 and below 1",
        });
    }
    check_open_unit("confidence", confidence)?;
    let n = counts.rows();
    let discordant = counts.champion_only + counts.challenger_only;
    let observed = score(n, counts.champion_only, counts.challenger_only, margin);
    let nuisance = clopper_pearson(discordant, n, 1.0 - 2.0 * NUISANCE_MISS)?;
    // A loss of `margin` needs at least that rate of disagreement.
    let (low, high) = (nuisance.lower.max(margin), nuisance.upper.max(margin));
    let worst = (0..=NUISANCE_POINTS)
        .map(|point| low + (high - low) * point as f64 / NUISANCE_POINTS as f64)
        .map(|rate| probability_at_least(observed, n, margin, rate))
        .fold(0.0, f64::max);
    Ok(NonInferiority {
        margin,
        difference: score_interval(counts, confidence),
        p_value: (worst + 2.0 * NUISANCE_MISS).min(1.0),
    })
}

/// Tango's score statistic of the outcome against a loss of `margin`: large is good for the
/// challenger. `lost` and `won` are the rows that only the champion or only the challenger got right.
fn score(n: u64, lost: u64, won: u64, margin: f64) -> f64 {
    let (n, lost, won) = (n as f64, lost as f64, won as f64);
    let numerator = n * margin - (lost - won);
    let b = -(lost + won) - (lost - won) * margin + 2.0 * n * margin;
    let c = -won * margin * (1.0 - margin);
    // Share of rows that only the challenger gets right, fitted under a loss of exactly `margin`.
    let won_share = (((b * b - 8.0 * n * c).max(0.0)).sqrt() - b) / (4.0 * n);
    let variance = n * (2.0 * won_share.max(0.0) + margin * (1.0 - margin));
    if variance <= 0.0 {
        // No disagreement is possible any more: any deviation is infinitely surprising.
        return if numerator.abs() < 1e-12 { 0.0 } else { numerator.signum() * f64::INFINITY };
    }
    numerator / variance.sqrt()
}

/// P(score >= observed) when the challenger loses exactly `margin` and the models disagree at `rate`.
fn probability_at_least(observed: f64, n: u64, margin: f64, rate: f64) -> f64 {
    if rate <= 0.0 {
        return 1.0;
    }
    let lost_share = (0.5 + 0.5 * margin / rate).min(1.0);
    let spread = 10.0 * (n as f64 * rate * (1.0 - rate)).sqrt() + 20.0;
    let from = (n as f64 * rate - spread).max(0.0) as u64;
    let to = ((n as f64 * rate + spread) as u64).min(n);
    let sum: f64 = (from..=to)
        .map(|discordant| {
            let mass = ln_binomial_mass(discordant, n, rate).exp();
            match most_lost(observed, n, discordant, margin) {
                Some(lost) if mass > 0.0 => mass * binomial_lower_tail(lost, discordant, lost_share),
                _ => 0.0,
            }
        })
        .sum();
    sum.min(1.0)
}

/// The most rows lost, out of `discordant`, at which the score still reaches `observed`; the score
/// falls with the rows lost.
fn most_lost(observed: f64, n: u64, discordant: u64, margin: f64) -> Option<u64> {
    // The observed outcome itself must count in spite of rounding.
    let reaches =
        |lost: u64| score(n, lost, discordant - lost, margin) >= observed - 1e-9 * (1.0 + observed.abs());
    if !reaches(0) {
        return None;
    }
    let (mut low, mut high) = (0, discordant + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if reaches(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

/// Tango's score interval of the difference in accuracy.
fn score_interval(counts: PairedCounts, confidence: f64) -> Interval {
    let (n, lost, won) = (counts.rows(), counts.champion_only, counts.challenger_only);
    let z = normal_quantile(0.5 + confidence / 2.0);
    let estimate = counts.difference();
    // A difference d is a loss of -d; for gains the two models change their parts.
    let statistic = |difference: f64| {
        if difference <= 0.0 { score(n, lost, won, -difference) } else { -score(n, won, lost, difference) }
    };
    Interval {
        estimate,
        lower: bisect(-1.0, estimate, |difference| z - statistic(difference)),
        upper: bisect(estimate, 1.0, |difference| -z - statistic(difference)),
        confidence,
    }
}
