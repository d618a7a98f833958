//! What the store remembers, and what it refuses.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use refit_store::{
    Feedback, LabelledQuery, NewDecision, NewDriftSnapshot, NewRun, NewVersion, PredictionRecord, Retention,
    Role, RunStatus, Store, StoreError, VersionStatus,
};
use serde_json::json;
use uuid::Uuid;

struct Opened {
    store: Store,
    folder: tempfile::TempDir,
}

async fn open() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_home(folder.path()).await.unwrap();
    Opened { store, folder }
}

fn version(version: &str) -> NewVersion {
    NewVersion {
        model: "m".into(),
        version: version.into(),
        artifact: PathBuf::from("/artifacts/m").join(version),
        run_id: None,
        parent: None,
        metrics: json!({"accuracy": 0.9}),
    }
}

fn predicted(label: &str, at: Timestamp) -> PredictionRecord {
    PredictionRecord {
        id: Uuid::now_v7(),
        model: "m".into(),
        version: "1".into(),
        role: Role::Canary,
        text: "some\ntext \u{1F600} with \0 in it".into(),
        label: label.into(),
        confidence: 0.7,
        probabilities: vec![0.3, 0.7],
        predicted_at: at,
    }
}

/// The store keeps microseconds.
fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

fn label(record: &PredictionRecord, label: &str) -> Feedback {
    Feedback { prediction_id: record.id.to_string(), label: label.into() }
}

fn all(model: &str) -> LabelledQuery<'_> {
    LabelledQuery { model, version: None, after: 0, predicted_since: None, limit: 100 }
}

#[tokio::test]
async fn a_run_keeps_its_version_number_and_registering_twice_changes_nothing() {
    let Opened { store, folder: _folder } = open().await;
    assert_eq!(store.reserve_version("m", "run-a").await.unwrap(), "1");
    assert_eq!(store.reserve_version("m", "run-b").await.unwrap(), "2");
    assert_eq!(store.reserve_version("m", "run-a").await.unwrap(), "1");
    let new = NewVersion { run_id: Some("run-a".into()), ..version("1") };
    store.register_version(&new).await.unwrap();
    store.set_version_status("m", "1", VersionStatus::Rejected).await.unwrap();
    store.register_version(&new).await.unwrap();
    let read = store.version("m", "1").await.unwrap();
    assert_eq!(
        (read.status, read.metrics, read.artifact),
        (VersionStatus::Rejected, new.metrics, Some(new.artifact))
    );
    let other = NewVersion { artifact: "/elsewhere".into(), ..version("1") };
    assert!(matches!(store.register_version(&other).await, Err(StoreError::VersionTaken { .. })));
    let stolen = NewVersion { run_id: Some("run-z".into()), ..version("2") };
    assert!(matches!(store.register_version(&stolen).await, Err(StoreError::VersionTaken { .. })));
    assert!(matches!(store.version("m", "9").await, Err(StoreError::UnknownVersion { .. })));
}

#[tokio::test]
async fn a_deployment_is_promoted_tried_and_rolled_back() {
    let Opened { store, folder: _folder } = open().await;
    assert_eq!(store.deployment("m").await.unwrap().generation, 0);
    for name in ["1", "2"] {
        store.register_version(&version(name)).await.unwrap();
    }
    store.set_champion("m", 0, "1", "the first", "refit up").await.unwrap();
    // The same step again, as after a crash; and one that was decided on an old state.
    assert_eq!(store.set_champion("m", 0, "1", "the first", "refit up").await.unwrap().generation, 1);
    let stale = store.set_canary("m", 0, "2", 5.0, "trial").await;
    assert!(matches!(stale, Err(StoreError::StaleDeployment { expected: 0, actual: 1, .. })));
    assert!(matches!(store.set_canary("m", 1, "2", 105.0, "").await, Err(StoreError::CanaryPercent { .. })));
    assert!(matches!(store.set_canary("m", 1, "7", 5.0, "").await, Err(StoreError::UnknownVersion { .. })));
    store.set_canary("m", 1, "2", 5.0, "trial").await.unwrap();
    let canary = store.set_canary("m", 2, "2", 25.0, "trial").await.unwrap().canary.unwrap();
    assert_eq!((canary.version.as_str(), canary.percent), ("2", 25.0));

    let promoted = store.set_champion("m", 3, "2", "no worse", "scheduler").await.unwrap();
    assert_eq!((promoted.generation, promoted.canary, promoted.previous.as_deref()), (4, None, Some("1")));
    let back = store.rollback("m", 4, "worse live", "ada").await.unwrap();
    let champion = back.champion.unwrap();
    assert_eq!((champion.version.as_str(), champion.by.as_str(), back.previous), ("1", "ada", None));
    assert_eq!(store.version("m", "2").await.unwrap().status, VersionStatus::RolledBack);
    assert!(matches!(store.rollback("m", 5, "", "ada").await, Err(StoreError::NoPrevious { .. })));
    assert_eq!(store.deployments().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_shadow_comes_and_goes_and_ends_with_its_champion() {
    let Opened { store, folder: _folder } = open().await;
    for name in ["1", "2", "3"] {
        store.register_version(&version(name)).await.unwrap();
    }
    store.set_champion("m", 0, "1", "", "").await.unwrap();
    assert!(matches!(store.set_shadow("m", 1, "2", -1.0, "").await, Err(StoreError::CanaryPercent { .. })));
    assert!(matches!(store.set_shadow("m", 1, "9", 5.0, "").await, Err(StoreError::UnknownVersion { .. })));
    let shadow = store.set_shadow("m", 1, "2", 50.0, "a look").await.unwrap();
    assert_eq!(store.set_shadow("m", 1, "2", 50.0, "a look").await.unwrap(), shadow);
    assert_eq!(store.deployment("m").await.unwrap(), shadow);
    let shadow = shadow.shadow.unwrap();
    assert_eq!((shadow.version.as_str(), shadow.percent, shadow.reason.as_str()), ("2", 50.0, "a look"));
    // Beside a canary; the canary ends and the shadow stays.
    store.set_canary("m", 2, "3", 5.0, "").await.unwrap();
    let cleared = store.clear_canary("m", 3, VersionStatus::RolledBack).await.unwrap();
    assert!(cleared.canary.is_none() && cleared.shadow.is_some());
    assert_eq!(store.clear_shadow("m", 4).await.unwrap().shadow, None);
    assert_eq!(store.clear_shadow("m", 4).await.unwrap().generation, 5);
    store.set_shadow("m", 5, "2", 100.0, "").await.unwrap();
    let promoted = store.set_champion("m", 6, "3", "", "").await.unwrap();
    assert_eq!((promoted.generation, promoted.shadow), (7, None));
    store.set_shadow("m", 7, "2", 100.0, "").await.unwrap();
    assert_eq!(store.rollback("m", 8, "", "").await.unwrap().shadow, None);
}

#[tokio::test]
async fn a_file_from_before_shadows_keeps_its_deployments() {
    let folder = tempfile::tempdir().unwrap();
    let path = {
        let store = Store::open_home(folder.path()).await.unwrap();
        let path = store.path().to_owned();
        store.close().await;
        std::fs::remove_file(&path).unwrap();
        path
    };
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let old = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(include_str!("../migrations/0001_first.sql")).execute(&old).await.unwrap();
    sqlx::raw_sql(
        "PRAGMA user_version = 1;
         INSERT INTO versions (model, version, artifact, status, created_at) VALUES ('m', '1', 'a', 'promoted', 0);
         INSERT INTO deployments (model, generation, champion, champion_since, champion_reason, champion_by)
         VALUES ('m', 7, '1', 0, 'because', 'ada');",
    )
    .execute(&old)
    .await
    .unwrap();
    old.close().await;
    let store = Store::open_home(folder.path()).await.unwrap();
    let deployment = store.deployment("m").await.unwrap();
    let champion = deployment.champion.unwrap();
    assert_eq!((deployment.generation, champion.version.as_str(), champion.by.as_str()), (7, "1", "ada"));
    assert_eq!((deployment.canary, deployment.shadow), (None, None));
    assert!(store.set_shadow("m", 7, "1", 100.0, "").await.unwrap().shadow.is_some());
}

#[tokio::test]
async fn a_version_without_artifact_cannot_serve() {
    let Opened { store, folder: _folder } = open().await;
    store.reserve_version("m", "run").await.unwrap();
    assert!(matches!(store.set_champion("m", 0, "1", "", "").await, Err(StoreError::UnknownVersion { .. })));
    assert_eq!(store.deployment("m").await.unwrap().generation, 0);
}

#[tokio::test]
async fn ending_a_canary_marks_its_version() {
    let Opened { store, folder: _folder } = open().await;
    for name in ["1", "2"] {
        store.register_version(&version(name)).await.unwrap();
    }
    store.set_champion("m", 0, "1", "", "").await.unwrap();
    store.set_canary("m", 1, "2", 5.0, "").await.unwrap();
    let cleared = store.clear_canary("m", 2, VersionStatus::RolledBack).await.unwrap();
    assert_eq!((cleared.generation, cleared.canary), (3, None));
    assert_eq!(store.clear_canary("m", 2, VersionStatus::RolledBack).await.unwrap().generation, 3);
    assert_eq!(store.version("m", "2").await.unwrap().status, VersionStatus::RolledBack);
}

#[tokio::test]
async fn labels_are_read_in_order_of_arrival() {
    let Opened { store, folder: _folder } = open().await;
    let records: Vec<_> = (0..2500).map(|_| predicted("good", now())).collect();
    store.insert_predictions(&records).await.unwrap();
    store.insert_predictions(&records[..10]).await.unwrap();
    assert_eq!(store.count_predictions("m", Timestamp::UNIX_EPOCH).await.unwrap(), 2500);
    assert_eq!(store.prediction(&records[2400].id.to_string()).await.unwrap(), records[2400]);

    let first = store.give_feedback(&label(&records[5], "good")).await.unwrap();
    assert!(first.correct);
    let results = store
        .give_feedback_batch(&[
            label(&records[3], "a label never seen"),
            label(&records[5], "bad"),
            Feedback { prediction_id: "nobody".into(), label: "good".into() },
            label(&records[4], "good"),
        ])
        .await
        .unwrap();
    assert!(!results[0].as_ref().unwrap().correct);
    assert!(matches!(&results[1], Err(StoreError::AlreadyGiven { id }) if *id == records[5].id.to_string()));
    assert!(matches!(&results[2], Err(StoreError::UnknownPrediction { id }) if id == "nobody"));
    assert!(results[3].is_ok());

    let rows = store.labelled_rows(all("m")).await.unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.prediction_id.clone()).collect();
    assert_eq!(ids, [5, 3, 4].map(|index| records[index].id.to_string()));
    assert_eq!((rows[1].label.as_str(), rows[1].predicted.as_str()), ("a label never seen", "good"));
    assert_eq!((rows[1].text.as_str(), rows[1].role), (records[3].text.as_str(), Role::Canary));
    let rest =
        store.labelled_rows(LabelledQuery { after: rows[0].sequence, limit: 1, ..all("m") }).await.unwrap();
    assert_eq!(rest, rows[1..2]);
    assert!(store.labelled_rows(LabelledQuery { version: Some("2"), ..all("m") }).await.unwrap().is_empty());
    let later = Some(now() + SignedDuration::from_secs(60));
    assert!(
        store.labelled_rows(LabelledQuery { predicted_since: later, ..all("m") }).await.unwrap().is_empty()
    );
    let tally = store.labelled_tally("m", Some("1"), 0).await.unwrap();
    assert_eq!((tally.total, tally.correct, tally.last_sequence), (3, 2, rows[2].sequence));
    let recent = store.recent_tally("m", "1", 2).await.unwrap();
    assert_eq!((recent.total, recent.correct, recent.last_sequence), (2, 1, rows[2].sequence));
    assert_eq!(store.labelled_tally("m", Some("2"), 0).await.unwrap(), Default::default());
}

#[tokio::test]
async fn retention_forgets_unlabelled_rows_first_and_never_gives_a_sequence_again() {
    let Opened { store, folder: _folder } = open().await;
    let old = now() - SignedDuration::from_hours(48);
    let records: Vec<_> =
        (0..4100).map(|_| predicted("good", old)).chain([predicted("good", now())]).collect();
    store.insert_predictions(&records).await.unwrap();
    let last = store.give_feedback(&label(&records[0], "good")).await.unwrap().sequence;
    store
        .record_drift(&NewDriftSnapshot {
            model: "m".into(),
            version: "1".into(),
            observations: 500,
            drifted: true,
            features: json!([{"feature": "text_length", "psi": 0.4}]),
        })
        .await
        .unwrap();
    let day_ago = now() - SignedDuration::from_hours(24);
    let keep_labels = Retention {
        unlabelled_before: day_ago,
        labelled_before: Timestamp::UNIX_EPOCH,
        drift_before: day_ago,
    };
    let pruned = store.prune(keep_labels).await.unwrap();
    assert_eq!((pruned.predictions, pruned.drift_snapshots), (4099, 0));
    assert_eq!(store.labelled_rows(all("m")).await.unwrap().len(), 1);
    assert!(store.drift_snapshots("m", Some("1"), 10).await.unwrap()[0].drifted);

    let pruned = store.prune(Retention { labelled_before: day_ago, ..keep_labels }).await.unwrap();
    assert_eq!(pruned.predictions, 1);
    assert!(store.labelled_rows(all("m")).await.unwrap().is_empty());
    let next = store.give_feedback(&label(&records[4100], "good")).await.unwrap().sequence;
    assert!(next > last);
}

#[tokio::test]
async fn decisions_and_runs_are_recorded_once() {
    let Opened { store, folder: _folder } = open().await;
    for key in ["train run-1", "train run-1", "promote 2"] {
        let decision = NewDecision {
            model: "m".into(),
            key: key.into(),
            kind: "train".into(),
            reason: "accuracy fell".into(),
            evidence: json!({"wealth": 130.5}),
        };
        store.record_decision(&decision).await.unwrap();
    }
    let keys =
        |decisions: Vec<refit_store::Decision>| decisions.into_iter().map(|it| it.key).collect::<Vec<_>>();
    assert_eq!(keys(store.decisions(None, 10).await.unwrap()), ["train run-1", "promote 2"]);
    assert_eq!(keys(store.decisions(Some("m"), 1).await.unwrap()), ["promote 2"]);
    assert!(store.decisions(Some("other"), 10).await.unwrap().is_empty());

    let run = NewRun {
        id: "run-1".into(),
        model: "m".into(),
        kind: "train".into(),
        reason: "accuracy fell".into(),
    };
    store.start_run(&run).await.unwrap();
    store.finish_run("run-1", RunStatus::Succeeded, Some("2"), &json!({"seconds": 12})).await.unwrap();
    store.start_run(&run).await.unwrap();
    store.finish_run("run-1", RunStatus::Failed, None, &json!({})).await.unwrap();
    let runs = store.runs("m", Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(
        (runs.len(), runs[0].status, runs[0].version.as_deref()),
        (1, RunStatus::Succeeded, Some("2"))
    );
    let unknown = store.finish_run("run-2", RunStatus::Failed, None, &json!({})).await;
    assert!(matches!(unknown, Err(StoreError::UnknownRun { .. })));
}

#[tokio::test]
async fn the_loop_state_is_compare_and_swap() {
    let Opened { store, folder } = open().await;
    assert!(store.loop_state::<Vec<u8>>("m").await.unwrap().is_none());
    assert_eq!(store.save_loop_state("m", 0, &vec![1, 2]).await.unwrap(), 1);
    assert!(matches!(
        store.save_loop_state("m", 0, &vec![3]).await,
        Err(StoreError::StaleLoopState { expected: 0, actual: 1, .. })
    ));
    store.close().await;
    let again = Store::open_home(folder.path()).await.unwrap();
    assert_eq!(again.loop_state::<Vec<u8>>("m").await.unwrap().unwrap().state, [1, 2]);
    assert!(matches!(again.loop_state::<String>("m").await, Err(StoreError::Value { column: "state", .. })));
}

#[tokio::test]
async fn artifacts_have_their_place() {
    assert_eq!(Store::artifact_dir(Path::new("/h"), "m", "3"), Path::new("/h/artifacts/m/3"));
}
