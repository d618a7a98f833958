//! Two processes on one file. The second process is this test binary itself, started again.

use std::process::Command;

use jiff::Timestamp;
use refit_store::{NewVersion, PredictionRecord, Role, Store, StoreError};
use serde_json::json;
use uuid::Uuid;

const CHILD_STORE: &str = "REFIT_STORE_TEST_CHILD";
const WRITES: usize = 60;

fn record(text: &str) -> PredictionRecord {
    PredictionRecord {
        id: Uuid::now_v7(),
        model: "m".into(),
        version: "1".into(),
        role: Role::Champion,
        text: text.into(),
        label: "good".into(),
        confidence: 0.75,
        probabilities: vec![0.75, 0.25],
        predicted_at: Timestamp::now(),
    }
}

/// Opens the file (so both processes race for the migration), writes predictions, and counts in the loop's state by
/// compare-and-swap.
async fn work(path: &std::path::Path, name: &str) {
    let store = Store::open(path).await.unwrap();
    for index in 0..WRITES {
        store.insert_predictions(&[record(&format!("{name} {index}")), record("second")]).await.unwrap();
        loop {
            let current = store.loop_state::<usize>("m").await.unwrap();
            let (revision, count) = current.map_or((0, 0), |state| (state.revision, state.state));
            match store.save_loop_state("m", revision, &(count + 1)).await {
                Ok(_) => break,
                Err(StoreError::StaleLoopState { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    store.reserve_version("m", name).await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_lose_nothing() {
    if let Some(path) = std::env::var_os(CHILD_STORE) {
        return work(path.as_ref(), "child").await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refit.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_processes_lose_nothing"])
        .env(CHILD_STORE, &path)
        .spawn()
        .unwrap();
    work(&path, "parent").await;
    assert!(child.wait().unwrap().success());

    let store = Store::open(&path).await.unwrap();
    assert_eq!(store.count_predictions("m", Timestamp::UNIX_EPOCH).await.unwrap(), 4 * WRITES as u64);
    assert_eq!(store.loop_state::<usize>("m").await.unwrap().unwrap().state, 2 * WRITES);
    let mut versions: Vec<_> =
        store.versions(Some("m")).await.unwrap().into_iter().map(|version| version.version).collect();
    versions.sort();
    assert_eq!(versions, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_promote_at_once_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refit.db");
    let (one, two) = (Store::open(&path).await.unwrap(), Store::open(&path).await.unwrap());
    for version in ["1", "2"] {
        let new = NewVersion {
            model: "m".into(),
            version: version.into(),
            artifact: folder.path().join(version),
            run_id: None,
            parent: None,
            metrics: json!({}),
        };
        one.register_version(&new).await.unwrap();
    }
    let (a, b) = tokio::join!(
        one.set_champion("m", 0, "1", "first", "a"),
        two.set_champion("m", 0, "2", "first", "b")
    );
    assert_ne!(a.is_ok(), b.is_ok());
    let lost = a.and(b).unwrap_err();
    assert!(matches!(lost, StoreError::StaleDeployment { expected: 0, actual: 1, .. }), "{lost}");
}
