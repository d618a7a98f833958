//! The cases.

use std::{future::Future, pin::Pin, process::Command, sync::atomic::Ordering};

use refit_scheduler::memory::{BaselineRecord, Memory, PhaseRecord};
use refit_store::{RunStatus, Store, VersionStatus};

use crate::{
    process::Scheduler,
    world::{Acts, MODEL, WELL, World, champion, run_decisions, until},
};

pub struct Case {
    pub name: String,
    pub run: Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>> + Send>,
}

fn case<F: Future<Output = ()> + 'static>(
    name: impl Into<String>,
    run: impl Fn() -> F + Send + 'static,
) -> Case {
    Case { name: name.into(), run: Box::new(move || Box::pin(run())) }
}

/// Every point at which a healthy loop can die, in the order in which it comes there.
const POINTS: [&str; 18] = [
    "after:decision:alarm",
    "after:save:alarm",
    "after:decision:refit",
    "after:effect:refit",
    "after:save:refit",
    "after:export:launch-training",
    "after:effect:launch-training",
    "after:decision:trained",
    "after:save:trained",
    "after:effect:launch-gate",
    "after:decision:canary",
    "after:effect:canary",
    "after:save:canary",
    "after:decision:promote",
    "after:promoted:promote",
    "after:effect:promote",
    "after:save:promote",
    // Not a crash: the scheduler must not end at a point that it never reaches.
    "after:save:reject",
];

pub fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = POINTS.iter().map(|point| case(*point, move || killed_at(point))).collect();
    cases.push(case("killed again and again", killed_again_and_again));
    cases.push(case("a child that dies while nobody looks is tried again", orphan_dies));
    cases.push(case("SIGTERM ends the child, and the next scheduler starts it again", stopped));
    cases.push(case("a training that fails is given up after three attempts", training_fails));
    cases.push(case("a gate that says no", gate_says_no));
    cases.push(case("a canary that fails is rolled back", canary_fails));
    cases.push(case("two schedulers on one home", two_schedulers));
    cases
}

async fn memory(store: &Store) -> Memory {
    store.loop_state(MODEL).await.unwrap().unwrap().state
}

async fn watches_with(store: &Store, version: &str) -> bool {
    let Some(memory) = store.loop_state::<Memory>(MODEL).await.unwrap() else { return false };
    memory.state.phase == PhaseRecord::Watching
        && memory.state.last_end.is_some()
        && champion(store).await == version
}

/// The loop has gone from degradation to a promotion, exactly once.
async fn went_well(world: &World, store: &Store) {
    until("version 2 to be promoted", async || watches_with(store, "2").await).await;
    assert_eq!(run_decisions(store).await, ["refit", "trained", "canary", "promote"]);
    assert_eq!(world.calls("train").len(), 1, "{:?}", world.calls("train"));
    assert_eq!(world.calls("gate").len(), 1, "{:?}", world.calls("gate"));
    let degraded = store.decisions(Some(MODEL), 1000).await.unwrap();
    let degraded = degraded.iter().filter(|decision| decision.reason.starts_with("live accuracy"));
    assert_eq!(degraded.count(), 1, "the degradation is one alarm");
    let run = store.run("reviews-r0001").await.unwrap();
    assert_eq!((run.status, run.version.as_deref()), (RunStatus::Succeeded, Some("2")));
    let why = store.deployment(MODEL).await.unwrap().champion.unwrap().reason;
    assert!(
        why.starts_with("refitted because accuracy fell by more than 0.02: live accuracy 0.500"),
        "{why}"
    );
    let memory = memory(store).await;
    assert_eq!(memory.runs, 1);
    assert_eq!(memory.starts.len(), 1);
    assert_eq!(memory.baselines.get("2"), Some(&BaselineRecord { errors: 6, rows: 60 }));
    assert_eq!(memory.trained_through.get("2"), Some(&120));
    the_rows_are_split(world);
}

fn the_rows_are_split(world: &World) {
    let rows = |file: &str| {
        let text = std::fs::read_to_string(world.home().join("runs/reviews-r0001").join(file)).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (learn, judge) = (rows("additional.jsonl"), rows("recent.jsonl"));
    assert_eq!(learn.len() + judge.len(), 120);
    assert!((20..=55).contains(&judge.len()), "{}", judge.len());
    assert!(learn.iter().all(|row| !judge.contains(row)));
}

async fn killed_at(point: &str) {
    let world = World::new(&WELL, 120, 5).await;
    let store = world.store().await;
    let mut first = Scheduler::start(&world, Some(point));
    if point == "after:save:reject" {
        went_well(&world, &store).await;
        assert!(!first.ended());
        return;
    }
    until("the scheduler to die", async || first.ended()).await;
    let _second = Scheduler::start(&world, None);
    went_well(&world, &store).await;
}

async fn killed_again_and_again() {
    let world = World::new(&WELL, 120, 5).await;
    let store = world.store().await;
    for milliseconds in (0..40).map(|round| 25 + round * 7) {
        if watches_with(&store, "2").await {
            break;
        }
        let scheduler = Scheduler::start(&world, None);
        tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
        scheduler.kill();
    }
    let _last = Scheduler::start(&world, None);
    went_well(&world, &store).await;
}

async fn orphan_dies() {
    let acts = Acts {
        train: "if [ $(grep -c ^train $(dirname $0)/calls) = 1 ]; then exec sleep 1000; fi; echo '{\"version\": \"2\"}'",
        ..WELL
    };
    let world = World::new(&acts, 120, 5).await;
    let store = world.store().await;
    let mut first = Scheduler::start(&world, Some("after:effect:launch-training"));
    until("the scheduler to die", async || first.ended()).await;
    until("the training to begin", async || world.calls("train").len() == 1).await;
    let pid = std::fs::read_to_string(world.home().join("runs/reviews-r0001/train-1.pid")).unwrap();
    let second = Scheduler::start(&world, None);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(world.calls("train").len(), 1, "the orphan is waited for");
    assert_eq!(run_decisions(&store).await, ["refit"]);
    second.kill();
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    let _third = Scheduler::start(&world, None);
    until("version 2 to be promoted", async || watches_with(&store, "2").await).await;
    assert_eq!(world.calls("train").len(), 2);
    assert_eq!(run_decisions(&store).await, ["refit", "retry", "trained", "canary", "promote"]);
}

async fn stopped() {
    let acts = Acts {
        train: "if [ $(grep -c ^train $(dirname $0)/calls) = 1 ]; then exec sleep 1000; fi; echo '{\"version\": \"2\"}'",
        ..WELL
    };
    let world = World::new(&acts, 120, 5).await;
    let store = world.store().await;
    let first = Scheduler::start(&world, None);
    let pid_file = world.home().join("runs/reviews-r0001/train-1.pid");
    until("the training to begin", async || world.calls("train").len() == 1 && pid_file.exists()).await;
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    first.terminate();
    assert!(!std::path::Path::new(&format!("/proc/{}", pid.trim())).exists(), "the child was ended");
    let _second = Scheduler::start(&world, None);
    until("version 2 to be promoted", async || watches_with(&store, "2").await).await;
    // An orderly stop is no failed attempt.
    assert_eq!(run_decisions(&store).await, ["refit", "trained", "canary", "promote"]);
}

async fn training_fails() {
    let world = World::new(&Acts { train: "echo 'refit: one class only' >&2; exit 1", ..WELL }, 120, 5).await;
    let store = world.store().await;
    let _scheduler = Scheduler::start(&world, None);
    until("the run to be given up", async || watches_with(&store, "1").await).await;
    assert_eq!(run_decisions(&store).await, ["refit", "retry", "retry", "give-up"]);
    let last = store.decisions(Some(MODEL), 1).await.unwrap().remove(0);
    assert!(last.reason.contains("one class only"), "{}", last.reason);
    assert_eq!(store.run("reviews-r0001").await.unwrap().status, RunStatus::Failed);
    // The model is still degraded; the cooldown holds the next run back.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(world.calls("train").len(), 3);
}

async fn gate_says_no() {
    let gate = r#"echo '{"passed": false, "reasons": ["slice imdb fell by 0.04"]}'"#;
    let world = World::new(&Acts { gate, ..WELL }, 120, 5).await;
    let store = world.store().await;
    let _scheduler = Scheduler::start(&world, None);
    until("the challenger to be rejected", async || watches_with(&store, "1").await).await;
    assert_eq!(run_decisions(&store).await, ["refit", "trained", "reject"]);
    assert_eq!(store.version(MODEL, "2").await.unwrap().status, VersionStatus::Rejected);
    let last = store.decisions(Some(MODEL), 1).await.unwrap().remove(0);
    assert!(last.reason.contains("slice imdb fell by 0.04"), "{}", last.reason);
    assert_eq!(last.evidence["gate"]["passed"], false);
}

async fn canary_fails() {
    let world = World::new(&WELL, 120, 5).await;
    world.service.failing.store(100, Ordering::Relaxed);
    let store = world.store().await;
    let _scheduler = Scheduler::start(&world, None);
    until("the canary to be taken back", async || watches_with(&store, "1").await).await;
    assert_eq!(run_decisions(&store).await, ["refit", "trained", "canary", "rollback"]);
    assert_eq!(store.deployment(MODEL).await.unwrap().canary, None);
    assert_eq!(store.version(MODEL, "2").await.unwrap().status, VersionStatus::RolledBack);
}

async fn two_schedulers() {
    let world = World::new(&WELL, 0, 10).await;
    let first = refit_scheduler::Scheduler::start(world.config()).await.unwrap();
    let refused = refit_scheduler::Scheduler::start(world.config()).await.unwrap_err();
    assert!(refused.to_string().contains("another scheduler already runs"), "{refused}");
    let mut other = Scheduler::start(&world, None);
    until("the other process to end", async || other.ended()).await;
    drop(first);
    refit_scheduler::Scheduler::start(world.config()).await.unwrap();
}
