//! Every situation as a snapshot: what the loop does and why. `UPDATE_EXPECT=1 cargo test -p refit-scheduler` rewrites
//! them; read the difference before you commit it.

use expect_test::{Expect, expect};

use super::*;

const NOW: Seconds = 1_790_000_000;

fn check(state: &State, expect: Expect) {
    expect.assert_eq(&plan(state).to_string());
}

fn with(mut state: State, change: impl FnOnce(&mut State)) -> State {
    change(&mut state);
    state
}

fn champion(version: &str) -> Option<Champion> {
    Some(Champion { version: version.to_owned(), since: NOW - 86_400 })
}

fn healthy() -> State {
    State {
        model: "reviews".to_owned(),
        now: NOW,
        policy: Policy {
            mode: Mode::Act,
            triggers: vec![Trigger::Degradation { metric: "accuracy".to_owned(), margin: 0.02 }],
            min_new_labels: 100,
            cooldown: 6 * 3600,
            max_runs_per_day: 4,
            max_attempts: 3,
            canary_steps: vec![5, 25, 100],
            canary_min_requests: 500,
            canary_max_latency_ratio: 1.5,
            missing_grace: 60,
        },
        phase: Phase::Watching,
        champion: champion("1"),
        deployed_canary: None,
        judge: Judge {
            labels: 2000,
            wrong: 360,
            log_wealth: -1.2,
            threshold: 5.3,
            alarmed: false,
            baseline_accuracy: Some(0.82),
            accuracy: Some((0.82, 0.803, 0.836)),
        },
        drift: Drift::Window { rows: 4000, drifted: Vec::new(), tested: 8 },
        new_labels: 2000,
        unseen_labels: Vec::new(),
        missing: Vec::new(),
        history: History { runs: 3, ..Default::default() },
        standing_alarms: Vec::new(),
        child: Child::NotStarted,
        canary: None,
        refit_requested_by: None,
    }
}

fn drifted() -> Drift {
    let feature = |feature: &str, psi, p_value| DriftedFeature { feature: feature.to_owned(), psi, p_value };
    Drift::Window {
        rows: 4000,
        drifted: vec![feature("text_length", 1.31, 1e-60), feature("embedding_0", 0.42, 1e-20)],
        tested: 8,
    }
}

fn degraded() -> State {
    let judge = Judge {
        labels: 180,
        wrong: 61,
        log_wealth: 5.9,
        threshold: 5.3,
        alarmed: true,
        baseline_accuracy: Some(0.82),
        accuracy: Some((0.661, 0.589, 0.726)),
    };
    State { judge, new_labels: 180, ..healthy() }
}

fn missing(what: &str, for_seconds: Seconds) -> Missing {
    Missing { what: what.to_owned(), detail: format!("no {what}: look there"), since: NOW - for_seconds }
}

fn training(attempt: u32, child: Child) -> State {
    State { phase: Phase::Training { run: "reviews-r0004".to_owned(), attempt }, child, ..healthy() }
}

fn gating(child: Child) -> State {
    let phase = Phase::Gating { run: "reviews-r0004".to_owned(), version: "2".to_owned(), attempt: 1 };
    State { phase, child, ..healthy() }
}

fn canary(step: usize, report: CanaryReport) -> State {
    State {
        phase: Phase::Canary { run: "reviews-r0004".to_owned(), version: "2".to_owned(), step },
        deployed_canary: Some(("2".to_owned(), 5)),
        canary: Some(report),
        ..healthy()
    }
}

fn well() -> CanaryReport {
    CanaryReport {
        requests: 510,
        champion_requests: 9600,
        error_wealth: (0.0, 4.6),
        latency_p95_ms: Some(8.2),
        champion_latency_p95_ms: Some(8.0),
        slower_p_value: 0.6,
        judge: Judge { labels: 31, ..Judge::default() },
        ..CanaryReport::default()
    }
}

#[test]
fn nothing_to_do() {
    check(
        &healthy(),
        expect![[r#"
        why no trigger fired
    "#]],
    );
}

#[test]
fn no_version_serves() {
    check(
        &State { champion: None, ..healthy() },
        expect![[r#"
        why no version serves yet: train and promote one (`refit up` does both)
    "#]],
    );
}

#[test]
fn drift_without_harm_alarms_and_does_not_retrain() {
    check(
        &State { drift: drifted(), ..healthy() },
        expect![[r#"
        do  raise alarm [drift] 2 of 8 features drifted over 4000 rows, most of all text_length (PSI 1.310, p 1.0e-60)
        why drift alone, without harm shown, starts no refit
    "#]],
    );
}

#[test]
fn drift_as_a_trigger_is_overruled_by_labels() {
    check(
        &with(healthy(), |s| {
            s.drift = drifted();
            s.policy.triggers.push(Trigger::Drift);
        }),
        expect![[r#"
            do  raise alarm [drift] 2 of 8 features drifted over 4000 rows, most of all text_length (PSI 1.310, p 1.0e-60)
            why the inputs drifted but the labels show no harm: live accuracy 0.820 [0.803, 0.836] over 2000 labelled rows, expected 0.820; evidence ln(wealth) -1.20 of 5.30
            why drift alone, without harm shown, starts no refit
        "#]],
    );
}

#[test]
fn drift_as_a_trigger_without_contradiction() {
    check(
        &with(healthy(), |s| {
            s.drift = drifted();
            s.policy.triggers.push(Trigger::Drift);
            s.judge = Judge { accuracy: Some((0.79, 0.74, 0.83)), labels: 300, wrong: 63, ..s.judge.clone() };
        }),
        expect![[r#"
            do  raise alarm [drift] 2 of 8 features drifted over 4000 rows, most of all text_length (PSI 1.310, p 1.0e-60)
            do  begin run reviews-r0004: 2 features drifted over 4000 rows
            why 2 features drifted over 4000 rows
        "#]],
    );
}

#[test]
fn drift_as_a_trigger_without_labels_to_learn_from() {
    check(
        &with(healthy(), |s| {
            s.drift = drifted();
            s.policy.triggers.push(Trigger::Drift);
            s.judge = Judge { accuracy: None, labels: 0, wrong: 0, ..s.judge.clone() };
            s.new_labels = 0;
        }),
        expect![[r#"
            do  raise alarm [drift] 2 of 8 features drifted over 4000 rows, most of all text_length (PSI 1.310, p 1.0e-60)
            why drifted, waiting for 100 more labelled rows of 100 to learn from
            why drift alone, without harm shown, starts no refit
        "#]],
    );
}

#[test]
fn a_drift_alarm_is_raised_once_and_cleared() {
    check(
        &State { standing_alarms: vec!["drift".to_owned()], ..healthy() },
        expect![[r#"
        do  clear alarm [drift]
        why no trigger fired
    "#]],
    );
}

#[test]
fn a_drift_alarm_stands_while_nothing_can_be_seen() {
    check(
        &State { standing_alarms: vec!["drift".to_owned()], drift: Drift::Gathering, ..healthy() },
        expect![[r#"
            why no trigger fired
        "#]],
    );
}

#[test]
fn degraded_with_labels_to_learn_from() {
    check(
        &degraded(),
        expect![[r#"
        do  raise alarm [degraded] live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
        do  begin run reviews-r0004: accuracy fell by more than 0.02: live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
        why accuracy fell by more than 0.02: live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
    "#]],
    );
}

#[test]
fn degraded_waits_for_labels_to_learn_from() {
    check(
        &State { new_labels: 40, ..degraded() },
        expect![[r#"
        do  raise alarm [degraded] live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
        why degraded, waiting for 60 more labelled rows of 100 to learn from
        why no trigger fired
    "#]],
    );
}

#[test]
fn degraded_within_cooldown() {
    check(
        &with(degraded(), |s| s.history.last_end = Some(NOW - 3600)),
        expect![[r#"
        do  raise alarm [degraded] live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
        why a refit is due (accuracy fell by more than 0.02: live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30) but the cooldown of 6 hours lasts for another 5 hours
    "#]],
    );
}

#[test]
fn degraded_after_the_days_runs() {
    check(
        &with(degraded(), |s| {
            s.history.starts = vec![NOW - 80_000, NOW - 60_000, NOW - 40_000, NOW - 30_000]
        }),
        expect![[r#"
            do  raise alarm [degraded] live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
            why a refit is due (accuracy fell by more than 0.02: live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30) but 4 runs were started within a day, the most that max_runs_per_day allows
        "#]],
    );
}

#[test]
fn yesterdays_runs_do_not_count() {
    check(
        &with(degraded(), |s| s.history.starts = vec![NOW - 86_400; 4]),
        expect![[r#"
        do  raise alarm [degraded] live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
        do  begin run reviews-r0004: accuracy fell by more than 0.02: live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
        why accuracy fell by more than 0.02: live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
    "#]],
    );
}

#[test]
fn degraded_in_suggest_only_mode() {
    check(
        &with(degraded(), |s| s.policy.mode = Mode::Suggest),
        expect![[r#"
        do  raise alarm [degraded] live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
        do  suggest a refit: accuracy fell by more than 0.02: live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30
        why accuracy fell by more than 0.02: live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30; suggest-only mode: `refit` acts when asked to
    "#]],
    );
}

#[test]
fn a_suggestion_is_made_once() {
    check(
        &with(degraded(), |s| {
            s.policy.mode = Mode::Suggest;
            s.history.suggested = Some("accuracy fell".to_owned());
            s.standing_alarms = vec!["degraded".to_owned()];
        }),
        expect![[r#"
            why accuracy fell by more than 0.02: live accuracy 0.661 [0.589, 0.726] over 180 labelled rows, expected 0.820; evidence ln(wealth) 5.90 of 5.30; suggest-only mode: `refit` acts when asked to
        "#]],
    );
}

#[test]
fn every_thirty_days() {
    check(
        &with(healthy(), |s| {
            s.policy.triggers.push(Trigger::Every(30 * 86_400));
            s.champion = Some(Champion { version: "1".to_owned(), since: NOW - 31 * 86_400 });
        }),
        expect![[r#"
            do  begin run reviews-r0004: 31 days since the last refit
            why 31 days since the last refit
        "#]],
    );
}

#[test]
fn not_yet_thirty_days() {
    check(
        &with(healthy(), |s| s.policy.triggers.push(Trigger::Every(30 * 86_400))),
        expect![[r#"
        why no trigger fired
    "#]],
    );
}

#[test]
fn enough_new_labels() {
    check(
        &with(healthy(), |s| {
            s.policy.triggers.push(Trigger::NewLabels(10_000));
            s.new_labels = 10_020;
        }),
        expect![[r#"
            do  begin run reviews-r0004: 10020 new labelled rows (at least 10000 asked for)
            why 10020 new labelled rows (at least 10000 asked for)
        "#]],
    );
}

#[test]
fn an_operator_asks() {
    check(
        &with(healthy(), |s| {
            s.refit_requested_by = Some("ada".to_owned());
            s.history.last_end = Some(NOW - 10);
            s.policy.mode = Mode::Suggest;
        }),
        expect![[r#"
            do  begin run reviews-r0004: asked for by ada
            why asked for by ada
        "#]],
    );
}

#[test]
fn metrics_missing_within_grace() {
    check(
        &State { missing: vec![missing("metrics", 30)], ..healthy() },
        expect![[r#"
        why no trigger fired
    "#]],
    );
}

#[test]
fn metrics_missing() {
    check(
        &State { missing: vec![missing("metrics", 90)], drift: Drift::Gathering, ..healthy() },
        expect![[r#"
            do  raise alarm [missing:metrics] no metrics: look there
            why no trigger fired
        "#]],
    );
}

#[test]
fn metrics_back() {
    check(
        &State { standing_alarms: vec!["missing:metrics".to_owned()], ..healthy() },
        expect![[r#"
        do  clear alarm [missing:metrics]
        why no trigger fired
    "#]],
    );
}

#[test]
fn no_traffic_is_an_alarm() {
    check(
        &State { missing: vec![missing("traffic", 7200)], ..healthy() },
        expect![[r#"
        do  raise alarm [missing:traffic] no traffic: look there
        why no trigger fired
    "#]],
    );
}

#[test]
fn a_label_never_seen() {
    check(
        &State { unseen_labels: vec![("sci.space".to_owned(), 12)], ..healthy() },
        expect![[r#"
        do  raise alarm [new-label:sci.space] feedback carries the label "sci.space" (12 rows) that the champion cannot answer: a refit learns it
        why no trigger fired
    "#]],
    );
}

#[test]
fn training_to_be_launched() {
    check(
        &training(1, Child::NotStarted),
        expect![[r#"
        do  launch training of reviews-r0004, attempt 1
    "#]],
    );
}

#[test]
fn training_runs() {
    check(
        &training(1, Child::Running),
        expect![[r#"
        why reviews-r0004 trains (attempt 1)
    "#]],
    );
}

#[test]
fn training_crashed() {
    check(
        &training(1, Child::Crashed),
        expect![[r#"
        do  retry reviews-r0004 as attempt 2: the training ended without a result
        why attempt 1 of 3 ended: the training ended without a result
    "#]],
    );
}

#[test]
fn training_failed() {
    check(
        &training(2, Child::Failed { error: "one class only".to_owned() }),
        expect![[r#"
        do  retry reviews-r0004 as attempt 3: one class only
        why attempt 2 of 3 ended: one class only
    "#]],
    );
}

#[test]
fn training_failed_for_the_last_time() {
    check(
        &training(3, Child::Failed { error: "one class only".to_owned() }),
        expect![[r#"
        do  give up reviews-r0004: one class only
        why all 3 attempts ended without a result; the next refit waits for the cooldown
    "#]],
    );
}

#[test]
fn trained() {
    check(
        &training(1, Child::Trained { version: "2".to_owned() }),
        expect![[r#"
        do  gate version 2 of reviews-r0004
        why reviews-r0004 trained version 2
    "#]],
    );
}

#[test]
fn gate_to_be_launched() {
    check(
        &gating(Child::NotStarted),
        expect![[r#"
        do  launch the gate of reviews-r0004 for version 2, attempt 1
    "#]],
    );
}

#[test]
fn gate_passed() {
    check(
        &gating(Child::Gated {
            passed: true,
            reasons: vec!["challenger 0.78, champion 0.66 on 240 rows, p 0.0002".to_owned()],
        }),
        expect![[r#"
            do  canary version 2 of reviews-r0004, step 1, 5 % of requests
            why challenger 0.78, champion 0.66 on 240 rows, p 0.0002
        "#]],
    );
}

#[test]
fn gate_passed_without_canary() {
    check(
        &with(gating(Child::Gated { passed: true, reasons: vec!["no worse".to_owned()] }), |s| {
            s.policy.canary_steps = vec![100]
        }),
        expect![[r#"
            do  promote version 2 of reviews-r0004
            why no worse
            why the spec asks for no canary
        "#]],
    );
}

#[test]
fn gate_failed() {
    check(
        &gating(Child::Gated { passed: false, reasons: vec!["slice source=imdb fell by 0.04".to_owned()] }),
        expect![[r#"
            do  reject version 2 of reviews-r0004
            why slice source=imdb fell by 0.04
        "#]],
    );
}

#[test]
fn gate_crashed() {
    check(
        &gating(Child::Crashed),
        expect![[r#"
        do  retry reviews-r0004 as attempt 2: the gate ended without a result
        why attempt 1 of 3 ended: the gate ended without a result
    "#]],
    );
}

#[test]
fn promoted_by_hand_while_gated() {
    check(
        &State { champion: champion("2"), ..gating(Child::Running) },
        expect![[r#"
        do  promote version 2 of reviews-r0004
        why version 2 was promoted by an operator while it was gated
    "#]],
    );
}

#[test]
fn canary_with_too_few_requests() {
    check(
        &canary(0, CanaryReport { requests: 120, ..well() }),
        expect![[r#"
            why version 2 answered 120 of 500 requests at 5 %
        "#]],
    );
}

#[test]
fn canary_healthy_goes_on() {
    check(
        &canary(0, well()),
        expect![[r#"
            do  canary version 2 of reviews-r0004, step 2, 25 % of requests
            why healthy at 5 %: 510 requests, 0 errors, p95 8.2 ms beside 8.0 ms, 31 labelled rows
        "#]],
    );
}

#[test]
fn canary_healthy_is_promoted() {
    check(
        &canary(1, well()),
        expect![[r#"
            do  promote version 2 of reviews-r0004
            why healthy at 25 %: 510 requests, 0 errors, p95 8.2 ms beside 8.0 ms, 31 labelled rows
        "#]],
    );
}

#[test]
fn canary_with_errors() {
    check(
        &canary(0, CanaryReport { requests: 60, errors: 12, error_wealth: (7.1, 4.6), ..well() }),
        expect![[r#"
            do  roll back version 2 of reviews-r0004
            why the canary failed 12 of 60 requests, the champion 0 of 9600: ln(wealth) 7.10 of 4.60
        "#]],
    );
}

#[test]
fn canary_with_one_error_stays() {
    check(
        &canary(0, CanaryReport { requests: 60, errors: 1, error_wealth: (0.3, 4.6), ..well() }),
        expect![[r#"
            why version 2 answered 60 of 500 requests at 5 %
        "#]],
    );
}

#[test]
fn canary_too_slow() {
    check(
        &canary(0, CanaryReport { latency_p95_ms: Some(31.0), slower_p_value: 2e-9, ..well() }),
        expect![[r#"
            do  roll back version 2 of reviews-r0004
            why the canary's latency (p95 31.0 ms) is more than 1.5 times the champion's (8.0 ms), by chance with a probability of 2.00e-9
        "#]],
    );
}

#[test]
fn canary_slower_by_chance() {
    check(
        &canary(0, CanaryReport { latency_p95_ms: Some(13.0), slower_p_value: 0.2, ..well() }),
        expect![[r#"
            do  canary version 2 of reviews-r0004, step 2, 25 % of requests
            why healthy at 5 %: 510 requests, 0 errors, p95 13.0 ms beside 8.0 ms, 31 labelled rows
        "#]],
    );
}

#[test]
fn canary_less_accurate() {
    check(
        &canary(1, CanaryReport { judge: degraded().judge, ..well() }),
        expect![[r#"
        do  roll back version 2 of reviews-r0004
        why the canary's live accuracy 0.661 [0.589, 0.726] over 180 labelled rows is below what its gate promised (0.820): ln(wealth) 5.90 of 5.30
    "#]],
    );
}

#[test]
fn canary_unseen_stays() {
    check(
        &State { canary: None, ..canary(0, well()) },
        expect![[r#"
        why the canary cannot be seen: it stays where it is until the metrics are back
    "#]],
    );
}

#[test]
fn canary_taken_back_by_hand() {
    check(
        &State { deployed_canary: None, ..canary(0, well()) },
        expect![[r#"
        do  roll back version 2 of reviews-r0004
        why version 2 is no longer on canary: an operator took it back
    "#]],
    );
}

#[test]
fn canary_promoted_by_hand() {
    check(
        &State { champion: champion("2"), deployed_canary: None, ..canary(0, well()) },
        expect![[r#"
        do  promote version 2 of reviews-r0004
        why version 2 is the champion already
    "#]],
    );
}

/// The planner's sources name nothing that does input or output, so a plan depends on the state alone.
#[test]
fn the_planner_is_pure() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = vec![folder.join("plan.rs")];
    sources.extend(std::fs::read_dir(folder.join("plan")).unwrap().map(|entry| entry.unwrap().path()));
    assert!(sources.len() >= 7);
    for source in sources.iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(source).unwrap();
        for forbidden in [
            "tokio",
            "std::fs",
            "std::env",
            "std::net",
            "std::time",
            "jiff",
            "reqwest",
            "sqlx",
            "refit_store",
            "crate::",
        ] {
            assert!(!text.contains(forbidden), "{} names {forbidden}", source.display());
        }
    }
}
