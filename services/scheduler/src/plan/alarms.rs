//! Alarms that stand while their cause stands: missing observations, drift, degradation, labels never seen.

use super::{Action, Drift, Plan, State};

/// Raises what is new and clears what is over.
pub(super) fn plan(state: &State, plan: &mut Plan) {
    let wanted = wanted(state);
    for (key, message) in &wanted {
        if !state.standing_alarms.contains(key) {
            plan.act(Action::RaiseAlarm { key: key.clone(), message: message.clone() });
        }
    }
    for key in &state.standing_alarms {
        if !wanted.iter().any(|(wanted, _)| wanted == key) && !undecided(state, key) {
            plan.act(Action::ClearAlarm { key: key.clone() });
        }
    }
}

/// What cannot be seen now neither raises nor clears an alarm: silence is no proof of health.
fn undecided(state: &State, key: &str) -> bool {
    key == "drift" && (state.drift == Drift::Gathering || state.missing.iter().any(|m| m.what == "metrics"))
}

fn wanted(state: &State) -> Vec<(String, String)> {
    let mut wanted = Vec::new();
    for missing in &state.missing {
        let lasting = state.now - missing.since;
        if lasting >= state.policy.missing_grace {
            wanted.push((format!("missing:{}", missing.what), missing.detail.clone()));
        }
    }
    if let Drift::Window { rows, drifted, tested } = &state.drift
        && let Some(worst) = drifted.first()
    {
        wanted.push((
            "drift".to_owned(),
            format!(
                "{} of {tested} features drifted over {rows} rows, most of all {} (PSI {:.3}, p {:.1e})",
                drifted.len(),
                worst.feature,
                worst.psi,
                worst.p_value
            ),
        ));
    }
    if state.judge.alarmed {
        wanted.push(("degraded".to_owned(), degradation(state)));
    }
    for (label, rows) in &state.unseen_labels {
        wanted.push((
            format!("new-label:{label}"),
            format!("feedback carries the label {label:?} ({rows} rows) that the champion cannot answer: a refit learns it"),
        ));
    }
    wanted
}

/// The sequential test's result as a sentence.
pub(super) fn degradation(state: &State) -> String {
    let judge = &state.judge;
    let live = match judge.accuracy {
        Some((estimate, lower, upper)) => format!("live accuracy {estimate:.3} [{lower:.3}, {upper:.3}]"),
        None => "live accuracy unknown".to_owned(),
    };
    let expected = judge.baseline_accuracy.map_or("unknown".to_owned(), |b| format!("{b:.3}"));
    format!(
        "{live} over {} labelled rows, expected {expected}; evidence ln(wealth) {:.2} of {:.2}",
        judge.labels, judge.log_wealth, judge.threshold
    )
}
