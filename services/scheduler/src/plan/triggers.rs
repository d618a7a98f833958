//! In the phase `Watching`: is there a reason to refit, and is a refit allowed now?

use super::{Action, Drift, Mode, Plan, Seconds, State, Trigger, alarms};

const DAY: Seconds = 24 * 3600;

pub(super) fn plan(state: &State, plan: &mut Plan) {
    let Some(champion) = &state.champion else {
        plan.because("no version serves yet: train and promote one (`refit up` does both)");
        return;
    };
    if let Some(by) = &state.refit_requested_by {
        // A person's word outweighs cooldown and suggest-only mode, not the rule of one run at a time.
        begin(state, format!("asked for by {by}"), plan);
        return;
    }
    let mut due = None;
    for trigger in &state.policy.triggers {
        match fires(state, champion.since, trigger) {
            Verdict::Fires(why) => {
                due.get_or_insert(why);
            }
            Verdict::Quiet(Some(why)) => plan.because(why),
            Verdict::Quiet(None) => {}
        }
    }
    let Some(trigger) = due else {
        plan.because(match &state.drift {
            Drift::Window { drifted, .. } if !drifted.is_empty() => {
                "drift alone, without harm shown, starts no refit"
            }
            _ => "no trigger fired",
        });
        return;
    };
    if let Some(why) = forbidden(state) {
        plan.because(format!("a refit is due ({trigger}) but {why}"));
        return;
    }
    match state.policy.mode {
        Mode::Act => begin(state, trigger, plan),
        Mode::Suggest => suggest(state, trigger, plan),
    }
}

enum Verdict {
    Fires(String),
    Quiet(Option<String>),
}

fn fires(state: &State, champion_since: Seconds, trigger: &Trigger) -> Verdict {
    let min = state.policy.min_new_labels;
    let starved = |why: &str| {
        let missing = min.saturating_sub(state.new_labels);
        Verdict::Quiet(Some(format!(
            "{why}, waiting for {missing} more labelled rows of {min} to learn from"
        )))
    };
    match trigger {
        Trigger::Degradation { metric, margin } => {
            if !state.judge.alarmed {
                return Verdict::Quiet(None);
            }
            if state.new_labels < min {
                return starved("degraded");
            }
            Verdict::Fires(format!("{metric} fell by more than {margin}: {}", alarms::degradation(state)))
        }
        Trigger::Drift => {
            let Drift::Window { drifted, rows, .. } = &state.drift else { return Verdict::Quiet(None) };
            if drifted.is_empty() {
                return Verdict::Quiet(None);
            }
            if state.judge.shows_no_harm(margin(state)) {
                return Verdict::Quiet(Some(format!(
                    "the inputs drifted but the labels show no harm: {}",
                    alarms::degradation(state)
                )));
            }
            if state.new_labels < min {
                return starved("drifted");
            }
            Verdict::Fires(format!("{} features drifted over {rows} rows", drifted.len()))
        }
        Trigger::Every(period) => {
            // The run that ended last counts too: a rejected challenger is not tried again before the next period.
            let last = state.history.last_end.map_or(champion_since, |end| end.max(champion_since));
            if state.now - last >= *period {
                return Verdict::Fires(format!("{} since the last refit", span(state.now - last)));
            }
            Verdict::Quiet(None)
        }
        Trigger::NewLabels(count) if state.new_labels >= *count => {
            Verdict::Fires(format!("{} new labelled rows (at least {count} asked for)", state.new_labels))
        }
        Trigger::NewLabels(_) => Verdict::Quiet(None),
    }
}

/// The fall that the owner tolerates: the smallest margin among the triggers.
fn margin(state: &State) -> f64 {
    let margins = state.policy.triggers.iter().filter_map(|trigger| match trigger {
        Trigger::Degradation { margin, .. } => Some(*margin),
        _ => None,
    });
    margins.fold(f64::INFINITY, f64::min).min(0.05)
}

fn forbidden(state: &State) -> Option<String> {
    let policy = &state.policy;
    if let Some(end) = state.history.last_end
        && state.now - end < policy.cooldown
    {
        return Some(format!(
            "the cooldown of {} lasts for another {}",
            span(policy.cooldown),
            span(policy.cooldown - (state.now - end))
        ));
    }
    let today = state.history.starts.iter().filter(|start| state.now - **start < DAY).count();
    if today >= policy.max_runs_per_day as usize {
        return Some(format!(
            "{today} runs were started within a day, the most that max_runs_per_day allows"
        ));
    }
    None
}

fn begin(state: &State, trigger: String, plan: &mut Plan) {
    plan.because(trigger.clone());
    plan.act(Action::BeginRun { run: format!("{}-r{:04}", state.model, state.history.runs + 1), trigger });
}

fn suggest(state: &State, trigger: String, plan: &mut Plan) {
    plan.because(format!("{trigger}; suggest-only mode: `refit` acts when asked to"));
    if state.history.suggested.is_none() {
        plan.act(Action::Suggest { trigger });
    }
}

/// A length of time in the largest unit that fits.
fn span(seconds: Seconds) -> String {
    match seconds {
        s if s >= 2 * DAY => format!("{} days", s / DAY),
        s if s >= 2 * 3600 => format!("{} hours", s / 3600),
        s if s >= 120 => format!("{} minutes", s / 60),
        s => format!("{s} seconds"),
    }
}
