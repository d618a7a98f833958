//! What is written down about a decision: one sentence for people and the figures behind it.

use refit_store::NewDecision;
use serde_json::{Value, json};

use crate::{
    SchedulerConfig,
    memory::{Memory, PhaseRecord},
    observe::{Files, Kind, Observed, run_folder},
    plan::{Action, CanaryReport, Drift, Judge, Plan, State},
};

/// The record; its key is the same when the action is carried out again after a crash.
pub(super) fn decision(
    action: &Action,
    kind: &str,
    observed: &Observed,
    plan: &Plan,
    config: &SchedulerConfig,
) -> NewDecision {
    NewDecision {
        model: observed.state.model.clone(),
        key: key(action, kind, &observed.memory.state),
        kind: kind.to_owned(),
        reason: reason(action, plan),
        evidence: evidence(action, observed, plan, config),
    }
}

fn key(action: &Action, kind: &str, memory: &Memory) -> String {
    match action {
        Action::RaiseAlarm { .. } | Action::ClearAlarm { .. } | Action::Suggest { .. } => {
            format!("note {} {kind}", memory.notes + 1)
        }
        Action::Retry { run, attempt, .. } => {
            format!("{run} retry {} {attempt}", memory.phase.name())
        }
        Action::SetCanary { run, step, .. } => format!("{run} canary {step}"),
        Action::BeginRun { run, .. }
        | Action::BeginGate { run, .. }
        | Action::LaunchTraining { run, .. }
        | Action::LaunchGate { run, .. }
        | Action::Promote { run, .. }
        | Action::RollBack { run, .. }
        | Action::Reject { run, .. }
        | Action::GiveUp { run, .. } => format!("{run} {kind}"),
    }
}

fn reason(action: &Action, plan: &Plan) -> String {
    let because = plan.reasons.join("; ");
    match action {
        Action::RaiseAlarm { message, .. } => message.clone(),
        Action::ClearAlarm { key } => format!("{key} is over"),
        Action::Suggest { trigger } | Action::BeginRun { trigger, .. } => trigger.clone(),
        Action::Retry { run, attempt, error } => {
            format!("attempt {attempt} of {run}, because the last one ended: {error}")
        }
        Action::GiveUp { run, error } => format!("{run} ended without a result: {error}"),
        Action::BeginGate { run, version } => format!("{run} trained version {version}"),
        Action::SetCanary { version, percent, .. } => {
            format!("version {version} answers {percent} % of requests: {because}")
        }
        Action::Promote { version, .. } => format!("version {version} serves: {because}"),
        Action::RollBack { version, .. } => format!("version {version} is taken back: {because}"),
        Action::Reject { version, .. } => format!("version {version} did not pass the gate: {because}"),
        Action::LaunchTraining { .. } | Action::LaunchGate { .. } => because,
    }
}

fn evidence(action: &Action, observed: &Observed, plan: &Plan, config: &SchedulerConfig) -> Value {
    let state = &observed.state;
    let mut evidence = json!({
        "action": action.to_string(),
        "reasons": plan.reasons,
        "champion": state.champion.as_ref().map(|champion| &champion.version),
        "judge": judge(&state.judge),
        "drift": drift(&state.drift),
        "new_labels": state.new_labels,
        "unseen_labels": state.unseen_labels,
        "missing": missing(state),
    });
    if let Some(report) = &state.canary {
        evidence["canary"] = canary(report);
    }
    if let PhaseRecord::Gating { run, attempt, .. } = &observed.memory.state.phase {
        let files = Files::of(&run_folder(config, run), Kind::Gate, *attempt);
        if let Some(gate) =
            std::fs::read(files.outcome).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
        {
            evidence["gate"] = gate;
        }
    }
    evidence
}

/// The sequential test as JSON, for decisions and the control API.
pub(crate) fn judge(judge: &Judge) -> Value {
    json!({
        "labels": judge.labels,
        "wrong": judge.wrong,
        "accuracy": judge.accuracy.map(|(estimate, ..)| estimate),
        "accuracy_lower": judge.accuracy.map(|(_, lower, _)| lower),
        "accuracy_upper": judge.accuracy.map(|(.., upper)| upper),
        "baseline_accuracy": judge.baseline_accuracy,
        "log_wealth": judge.log_wealth,
        "log_threshold": judge.threshold,
        "alarmed": judge.alarmed,
    })
}

/// The drift window as JSON; null while the first is not complete.
pub(crate) fn drift(drift: &Drift) -> Value {
    match drift {
        Drift::Gathering => Value::Null,
        Drift::Window { rows, drifted, tested } => json!({
            "rows": rows,
            "tested": tested,
            "drifted": drifted
                .iter()
                .map(|feature| json!({ "feature": feature.feature, "psi": feature.psi, "p_value": feature.p_value }))
                .collect::<Vec<_>>(),
        }),
    }
}

/// What is missing as JSON.
pub(crate) fn missing(state: &State) -> Value {
    state
        .missing
        .iter()
        .map(|missing| json!({ "what": missing.what, "detail": missing.detail, "since": missing.since }))
        .collect()
}

/// The canary's report as JSON.
pub(crate) fn canary(report: &CanaryReport) -> Value {
    json!({
        "requests": report.requests,
        "errors": report.errors,
        "champion_requests": report.champion_requests,
        "champion_errors": report.champion_errors,
        "error_log_wealth": report.error_wealth.0,
        "error_log_threshold": report.error_wealth.1,
        "latency_p95_ms": report.latency_p95_ms,
        "champion_latency_p95_ms": report.champion_latency_p95_ms,
        "slower_p_value": report.slower_p_value,
        "judge": judge(&report.judge),
    })
}
