//! Two independent proportions.

use statrs::function::factorial::ln_binomial;

use crate::error::{StatsError, check_trials};

/// Fisher's exact one-sided p-value that the first proportion is greater than the second, e.g. the
/// canary's errors of its requests against the champion's. Valid at one look: decide when to look
/// before the counts are seen.
pub fn fisher_exact_greater(
    successes: u64,
    trials: u64,
    other_successes: u64,
    other_trials: u64,
) -> Result<f64, StatsError> {
    check_trials("the first sample", successes, trials)?;
    check_trials("the second sample", other_successes, other_trials)?;
    let total = successes + other_successes;
    let whole = ln_binomial(trials + other_trials, total);
    let tail: f64 = (successes..=total.min(trials))
        .filter(|k| total - k <= other_trials)
        .map(|k| (ln_binomial(trials, k) + ln_binomial(other_trials, total - k) - whole).exp())
        .sum();
    Ok(tail.min(1.0))
}
