//! In the phases `Training` and `Gating`: follow the child process.

use super::{Action, Child, Plan, State};

pub(super) fn training(state: &State, run: &str, attempt: u32, plan: &mut Plan) {
    let run = run.to_owned();
    match &state.child {
        Child::NotStarted => plan.act(Action::LaunchTraining { run, attempt }),
        Child::Running => plan.because(format!("{run} trains (attempt {attempt})")),
        Child::Trained { version } => {
            plan.because(format!("{run} trained version {version}"));
            plan.act(Action::BeginGate { run, version: version.clone() });
        }
        Child::Gated { .. } => retry(state, run, attempt, "the training left a gate's result", plan),
        Child::Failed { error } => retry(state, run, attempt, error, plan),
        Child::Crashed => retry(state, run, attempt, "the training ended without a result", plan),
    }
}

pub(super) fn gating(state: &State, run: &str, version: &str, attempt: u32, plan: &mut Plan) {
    let run = run.to_owned();
    let version = version.to_owned();
    if state.champion.as_ref().is_some_and(|champion| champion.version == version) {
        plan.because(format!("version {version} was promoted by an operator while it was gated"));
        plan.act(Action::Promote { run, version });
        return;
    }
    match &state.child {
        Child::NotStarted => plan.act(Action::LaunchGate { run, version, attempt }),
        Child::Running => plan.because(format!("version {version} of {run} is gated (attempt {attempt})")),
        Child::Gated { passed: true, reasons } => {
            plan.reasons.extend(reasons.iter().cloned());
            enter_canary(state, run, version, plan);
        }
        Child::Gated { passed: false, reasons } => {
            plan.reasons.extend(reasons.iter().cloned());
            plan.act(Action::Reject { run, version });
        }
        Child::Trained { .. } => retry(state, run, attempt, "the gate left a training's result", plan),
        Child::Failed { error } => retry(state, run, attempt, error, plan),
        Child::Crashed => retry(state, run, attempt, "the gate ended without a result", plan),
    }
}

fn enter_canary(state: &State, run: String, version: String, plan: &mut Plan) {
    match state.policy.canary_steps.first() {
        Some(&percent) if percent < 100 => plan.act(Action::SetCanary { run, version, step: 0, percent }),
        _ => {
            plan.because("the spec asks for no canary");
            plan.act(Action::Promote { run, version });
        }
    }
}

fn retry(state: &State, run: String, attempt: u32, error: &str, plan: &mut Plan) {
    let most = state.policy.max_attempts;
    if attempt < most {
        plan.because(format!("attempt {attempt} of {most} ended: {error}"));
        plan.act(Action::Retry { run, attempt: attempt + 1, error: error.to_owned() });
    } else {
        plan.because(format!(
            "all {most} attempts ended without a result; the next refit waits for the cooldown"
        ));
        plan.act(Action::GiveUp { run, error: error.to_owned() });
    }
}
