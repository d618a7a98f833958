//! A file that cannot be used is refused with one sentence, and stays as it was.

use jiff::Timestamp;
use refit_store::{PredictionRecord, Role, SCHEMA_VERSION, Store, StoreError, StoreOptions};
use uuid::Uuid;

fn record() -> PredictionRecord {
    PredictionRecord {
        id: Uuid::now_v7(),
        model: "m".into(),
        version: "1".into(),
        role: Role::Champion,
        text: "long text ".repeat(200),
        label: "good".into(),
        confidence: 0.5,
        probabilities: vec![0.5, 0.5],
        predicted_at: Timestamp::now(),
    }
}

#[tokio::test]
async fn a_file_that_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refit.db");
    let garbage = b"this is not a database, it is a letter".repeat(100);
    std::fs::write(&path, &garbage).unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("refit.db is damaged or not a refit store"));
    assert_eq!(std::fs::read(&path).unwrap(), garbage);
}

#[tokio::test]
async fn pages_that_were_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refit.db");
    let store = Store::open(&path).await.unwrap();
    store.insert_predictions(&vec![record(); 1]).await.unwrap();
    store.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    let error = match Store::open(&path).await {
        Err(error) => error,
        Ok(store) => store.insert_predictions(&[record()]).await.unwrap_err(),
    };
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_folder_in_the_place_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(folder.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("refit.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refit.db");
    Store::open(&path).await.unwrap().close().await;
    // The header's bytes 60 to 63 are `user_version`, big-endian.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60..64].copy_from_slice(&(SCHEMA_VERSION as u32 + 1).to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(
        matches!(error, StoreError::NewerSchema { found, supported, .. } if found == supported + 1),
        "{error}"
    );
    assert!(error.to_string().ends_with("use a newer refit"));
}

#[tokio::test]
async fn a_full_store_takes_nothing_of_a_batch_and_works_again_with_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refit.db");
    let small = StoreOptions { max_bytes: Some(400 * 1024), ..StoreOptions::default() };
    let store = Store::open_with(&path, &small).await.unwrap();
    store.insert_predictions(&[record()]).await.unwrap();
    let batch: Vec<_> = (0..1500).map(|_| record()).collect();
    let error = store.insert_predictions(&batch).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { operation: "record predictions", .. }), "{error}");
    assert!(error.is_transient());
    assert_eq!(store.count_predictions("m", Timestamp::UNIX_EPOCH).await.unwrap(), 1);
    store.insert_predictions(&[record()]).await.unwrap();
    store.close().await;

    let store = Store::open(&path).await.unwrap();
    store.insert_predictions(&batch).await.unwrap();
    assert_eq!(store.count_predictions("m", Timestamp::UNIX_EPOCH).await.unwrap(), 1502);
}

#[tokio::test]
async fn a_lock_that_is_held_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refit.db");
    let options =
        StoreOptions { busy_timeout: std::time::Duration::from_millis(100), ..StoreOptions::default() };
    let store = Store::open_with(&path, &options).await.unwrap();
    let holder = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let transaction = holder.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = store.insert_predictions(&[record()]).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    // Readers do not wait.
    assert_eq!(store.count_predictions("m", Timestamp::UNIX_EPOCH).await.unwrap(), 0);
    transaction.rollback().await.unwrap();
    store.insert_predictions(&[record()]).await.unwrap();
}
