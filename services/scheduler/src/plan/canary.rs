//! In the phase `Canary`: wait for enough requests, go on, promote, or roll back.

use super::{Action, CanaryReport, Plan, State};

/// Probability with which a canary that is not slower is taken back as slower, a step.
const SLOWER_BUDGET: f64 = 0.005;

pub(super) fn plan(state: &State, run: &str, version: &str, step: usize, plan: &mut Plan) {
    let run = run.to_owned();
    let version = version.to_owned();
    if state.champion.as_ref().is_some_and(|champion| champion.version == version) {
        plan.because(format!("version {version} is the champion already"));
        plan.act(Action::Promote { run, version });
        return;
    }
    let percent = state.policy.canary_steps.get(step).copied().unwrap_or(100);
    if state.deployed_canary.as_ref().is_none_or(|(deployed, _)| *deployed != version) {
        plan.because(format!("version {version} is no longer on canary: an operator took it back"));
        plan.act(Action::RollBack { run, version });
        return;
    }
    let Some(report) = &state.canary else {
        plan.because("the canary cannot be seen: it stays where it is until the metrics are back");
        return;
    };
    if let Some(why) = worse(state, report) {
        plan.because(why);
        plan.act(Action::RollBack { run, version });
        return;
    }
    if report.requests < state.policy.canary_min_requests {
        plan.because(format!(
            "version {version} answered {} of {} requests at {percent} %",
            report.requests, state.policy.canary_min_requests
        ));
        return;
    }
    plan.because(healthy(report, percent));
    match state.policy.canary_steps.get(step + 1) {
        Some(&next) if next < 100 => {
            plan.act(Action::SetCanary { run, version, step: step + 1, percent: next });
        }
        _ => plan.act(Action::Promote { run, version }),
    }
}

fn worse(state: &State, report: &CanaryReport) -> Option<String> {
    let (wealth, threshold) = report.error_wealth;
    if report.errors > 0 && wealth >= threshold {
        return Some(format!(
            "the canary failed {} of {} requests, the champion {} of {}: ln(wealth) {wealth:.2} of {threshold:.2}",
            report.errors, report.requests, report.champion_errors, report.champion_requests
        ));
    }
    if report.judge.alarmed {
        let (accuracy, lower, upper) = report.judge.accuracy.unwrap_or_default();
        return Some(format!(
            "the canary's live accuracy {accuracy:.3} [{lower:.3}, {upper:.3}] over {} labelled rows is below what its gate \
             promised ({:.3}): ln(wealth) {:.2} of {:.2}",
            report.judge.labels,
            report.judge.baseline_accuracy.unwrap_or_default(),
            report.judge.log_wealth,
            report.judge.threshold
        ));
    }
    let ratio = state.policy.canary_max_latency_ratio;
    match (report.latency_p95_ms, report.champion_latency_p95_ms) {
        // The test is good for one look, so latency is judged when the step is complete.
        (Some(canary), Some(champion))
            if report.requests >= state.policy.canary_min_requests
                && canary > ratio * champion
                && report.slower_p_value < SLOWER_BUDGET =>
        {
            Some(format!(
                "the canary's latency (p95 {canary:.1} ms) is more than {ratio} times the champion's ({champion:.1} ms), by \
                 chance with a probability of {:.2e}",
                report.slower_p_value
            ))
        }
        _ => None,
    }
}

fn healthy(report: &CanaryReport, percent: u8) -> String {
    let latency = match (report.latency_p95_ms, report.champion_latency_p95_ms) {
        (Some(canary), Some(champion)) => format!(", p95 {canary:.1} ms beside {champion:.1} ms"),
        _ => String::new(),
    };
    format!(
        "healthy at {percent} %: {} requests, {} errors{latency}, {} labelled rows",
        report.requests, report.errors, report.judge.labels
    )
}
