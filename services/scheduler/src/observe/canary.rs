//! The canary beside the champion, over the canary's current step.

use refit_stats::{EProcess, clopper_pearson_upper, fisher_exact_greater};

use super::counters::Totals;
use crate::plan::{CanaryReport, Judge};

/// A canary may fail this much more often than the champion's upper bound.
const ERROR_MARGIN: f64 = 0.005;
/// Probability that a canary which fails no more often than the champion is ever taken back for failing.
const ERROR_BUDGET: f64 = 0.01;

const DURATION: &str = "refit_request_duration_seconds";

/// Where the counters stood when the step began.
#[derive(Debug)]
pub struct Step {
    /// The canary and its step.
    pub of: (String, usize),
    /// The sums at its beginning.
    pub start: Totals,
}

/// Compares canary and champion since the step began. A request counts as slow when it took more than `ratio` times
/// the champion's 95th percentile.
pub fn report(
    step: &Step,
    totals: &Totals,
    model: &str,
    champion: &str,
    ratio: f64,
    judge: Judge,
) -> CanaryReport {
    let canary = [("model", model), ("version", step.of.0.as_str())];
    let champion = [("model", model), ("version", champion)];
    let count = |labels: &[(&str, &str)]| {
        let answered = totals.grown(&step.start, "refit_predictions_total", labels);
        let failed = totals.grown(&step.start, "refit_prediction_failures_total", labels);
        (answered + failed, failed)
    };
    let whole = |labels: [(&'static str, _); 2]| [labels[0], labels[1], ("phase", "total")];
    let p95 =
        |labels| totals.quantile(&step.start, DURATION, &whole(labels), 0.95).map(|seconds| seconds * 1000.0);
    let champion_p95 = p95(champion);
    let slow = |labels| {
        let limit = champion_p95.map_or(f64::INFINITY, |champion| ratio * champion / 1000.0);
        totals.above(&step.start, DURATION, &whole(labels), limit)
    };
    let (slow_here, slow_there) = (slow(canary), slow(champion));
    let (requests, errors) = count(&canary);
    let (champion_requests, champion_errors) = count(&champion);
    CanaryReport {
        requests,
        errors,
        champion_requests,
        champion_errors,
        error_wealth: error_wealth(requests, errors, champion_requests, champion_errors),
        latency_p95_ms: p95(canary),
        champion_latency_p95_ms: champion_p95,
        slower_p_value: fisher_exact_greater(slow_here.0, slow_here.1, slow_there.0, slow_there.1)
            .unwrap_or(1.0),
        judge,
    }
}

/// ln wealth of "the canary fails more than the champion does, by more than the margin", and its threshold.
fn error_wealth(requests: u64, errors: u64, champion_requests: u64, champion_errors: u64) -> (f64, f64) {
    let half = ERROR_BUDGET / 2.0;
    let upper = clopper_pearson_upper(champion_errors, champion_requests.max(1), half).unwrap_or(1.0);
    // A champion without enough requests of its own is no measure: nine in a hundred is too much for any canary.
    let null = if champion_requests < 100 { 0.09 } else { upper + ERROR_MARGIN };
    let Ok(mut process) = EProcess::new(null.min(0.99), half) else { return (0.0, f64::INFINITY) };
    // The order within the counters' growth is not known: failures are spread evenly.
    let mut failed = 0;
    for request in 1..=requests {
        let due = (u128::from(errors) * u128::from(request)).div_ceil(u128::from(requests)) as u64;
        process.update(due > failed);
        failed = due;
    }
    (process.log_wealth(), process.log_threshold())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_more_is_told_from_failing_as_much() {
        let check = |canary: (u64, u64), champion: (u64, u64), worse: bool| {
            let (wealth, threshold) = error_wealth(canary.0, canary.1, champion.0, champion.1);
            assert_eq!(wealth >= threshold, worse, "{canary:?} beside {champion:?}: {wealth} of {threshold}");
        };
        check((50, 50), (1000, 0), true);
        check((100, 10), (1000, 0), true);
        check((500, 1), (1000, 0), false);
        check((500, 10), (10_000, 200), false);
        check((500, 80), (10_000, 200), true);
        check((20, 20), (0, 0), true);
        check((0, 0), (0, 0), false);
    }
}
