//! Has the model degraded? A test that may be looked at after every label.
//!
//! The null hypothesis is "the error rate is at most p0". Against it a bettor stakes the fraction
//! lambda on every next label being an error: the wealth, the product of 1 + lambda (x - p0) over
//! labels x in {0, 1}, is a supermartingale under the null, so by Ville's inequality it ever reaches
//! 1/alpha with a probability of at most alpha, however often one looks and whenever one stops
//! (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting",
//! JRSS B 86(1), sections 3 and 4). An average of such wealths is one too, so a grid of lambdas is
//! mixed, and as small and large changes are not known beforehand, none has to be chosen.
//!
//! Three choices of ours, all of which keep that guarantee:
//!
//! - **Lambda is a fraction of 1/p0**, the largest stake that cannot go bankrupt. For labels 0/1 a
//!   stake of f/p0 is the likelihood ratio of the error rate p0 + f (1 - p0) against p0, so one grid
//!   of f serves a model with 1 % errors and one with 40 %.
//! - **Capital enters over time.** Half is staked from the first label, the rest enters at label t
//!   with weight proportional to 1/(t0 + t)^2. Wealth that is not yet staked stays as it is, so the
//!   sum is again an average of test martingales, one for each time of entry (Herbster and Warmuth
//!   1998, fixed share; Shin, Ramdas and Rinaldo 2024, e-detectors). Without it a model that was
//!   good for 20,000 labels has lost so much wealth that its fall would be noticed thousands of
//!   labels late.
//! - **The baseline is uncertain.** It was measured on a finite test set, so p0 is its exact
//!   (Clopper-Pearson) upper bound plus the margin. The bound fails with probability `budget / 2`
//!   and the test spends the other half: by the union bound the false-alarm probability, over the
//!   draw of the test set and all labels to come, is at most `budget`. A bound was preferred to a
//!   beta-binomial mixture over p0 because the null is then one number that a person can read.
//!
//! "Errors" are conditional on the past: labels may depend on each other as long as each one's
//! probability of being an error, given those before, stays at or below p0.

use serde::{Deserialize, Serialize};

use crate::error::{StatsError, check_open_unit, check_trials};
use crate::interval::clopper_pearson_upper;

/// Stakes as fractions of the largest, 1/p0.
const FRACTIONS: [f64; 10] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7];
/// Share of the capital that is staked from the first label on.
const STAKED_AT_START: f64 = 0.5;
/// Labels after which half of the remaining capital has entered.
const ENTRY_HALF_TIME: f64 = 1000.0;

/// How many errors a model made on its test set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Wrong answers.
    pub errors: u64,
    /// Rows of the test set.
    pub rows: u64,
}

/// What counts as degraded, and how often that may be said wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DegradationBudget {
    /// Rise of the error rate that is tolerated.
    pub margin: f64,
    /// Probability of ever raising a false alarm for this deployment.
    pub false_alarms: f64,
}

/// The running test; a value to be stored and picked up again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EProcess {
    null_error: f64,
    alpha: f64,
    observations: u64,
    errors: u64,
    /// ln of the capital that has not entered yet.
    log_reserve: f64,
    /// ln of the wealth behind each fraction.
    log_staked: [f64; FRACTIONS.len()],
    log_peak: f64,
    crossed_at: Option<u64>,
}

impl EProcess {
    /// Tests "the error rate is at most the baseline's, allowing for its uncertainty, plus the
    /// margin", with a false-alarm probability of at most `budget.false_alarms` in all.
    pub fn against_baseline(baseline: Baseline, budget: DegradationBudget) -> Result<Self, StatsError> {
        check_trials("the baseline's test set", baseline.errors, baseline.rows)?;
        check_open_unit("false_alarms", budget.false_alarms)?;
        if !(0.0..1.0).contains(&budget.margin) {
            return Err(StatsError::OutOfRange {
                name: "margin",
                value: budget.margin,
                expected: "at least 0 and below 1",
            });
        }
        let half = budget.false_alarms / 2.0;
        let upper = clopper_pearson_upper(baseline.errors, baseline.rows, half)?;
        // An error rate of nearly 1 cannot be exceeded: the test then simply never alarms.
        Self::new((upper + budget.margin).min(1.0 - 1e-9), half)
    }

    /// Tests "the error rate is at most `null_error`" with a false-alarm probability of `alpha`.
    pub fn new(null_error: f64, alpha: f64) -> Result<Self, StatsError> {
        check_open_unit("null_error", null_error)?;
        check_open_unit("alpha", alpha)?;
        Ok(Self {
            null_error,
            alpha,
            observations: 0,
            errors: 0,
            log_reserve: (1.0 - STAKED_AT_START).ln(),
            log_staked: [(STAKED_AT_START / FRACTIONS.len() as f64).ln(); FRACTIONS.len()],
            log_peak: 0.0,
            crossed_at: None,
        })
    }

    /// Takes the next label, in order of arrival: was the answer an error?
    pub fn update(&mut self, error: bool) {
        let time = self.observations as f64;
        // Reserve left after t labels: (1 - s) t0 / (t0 + t).
        let log_left = (1.0 - STAKED_AT_START).ln() - ((ENTRY_HALF_TIME + time + 1.0) / ENTRY_HALF_TIME).ln();
        let log_entry =
            self.log_reserve + (-(log_left - self.log_reserve).exp_m1()).ln() - (FRACTIONS.len() as f64).ln();
        self.log_reserve = log_left;
        for (wealth, fraction) in self.log_staked.iter_mut().zip(FRACTIONS) {
            // 1 + (f / p0)(x - p0): a gain of f (1 - p0) / p0 on an error, a loss of f otherwise.
            let gain = if error { fraction * (1.0 - self.null_error) / self.null_error } else { -fraction };
            *wealth = log_add(*wealth, log_entry) + gain.ln_1p();
        }
        self.observations += 1;
        self.errors += u64::from(error);
        let wealth = self.log_wealth();
        self.log_peak = self.log_peak.max(wealth);
        if self.crossed_at.is_none() && wealth >= self.log_threshold() {
            self.crossed_at = Some(self.observations);
        }
    }

    /// ln of the present wealth; 0 at the start.
    pub fn log_wealth(&self) -> f64 {
        self.log_staked.iter().copied().fold(self.log_reserve, log_add)
    }

    /// ln of the wealth at which the alarm is raised, ln(1 / alpha).
    pub fn log_threshold(&self) -> f64 {
        -self.alpha.ln()
    }

    /// Whether the wealth has ever reached the threshold of this test.
    pub fn alarmed(&self) -> bool {
        self.crossed_at.is_some()
    }

    /// The label (counted from 1) at which the alarm was raised.
    pub fn alarmed_at(&self) -> Option<u64> {
        self.crossed_at
    }

    /// Whether the wealth has ever reached 1 / `alpha`, for another alpha than the test's own.
    pub fn crossed(&self, alpha: f64) -> bool {
        self.log_peak >= -alpha.ln()
    }

    /// An upper bound, valid at every look, on the probability of such a wealth under the null.
    pub fn p_value(&self) -> f64 {
        (-self.log_peak).exp().min(1.0)
    }

    /// The error rate that the null allows.
    pub fn null_error(&self) -> f64 {
        self.null_error
    }

    /// Labels seen.
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// Errors among them.
    pub fn errors(&self) -> u64 {
        self.errors
    }
}

/// ln(e^a + e^b) without overflow.
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}
