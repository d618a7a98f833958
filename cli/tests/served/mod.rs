//! A real `refit serve` in a process of its own, over a real home with tiny artifacts.
#![allow(dead_code, reason = "every test binary uses a part of it")]

#[path = "../../../services/inference/tests/it/service/toy.rs"]
mod toy;

use refit_store::{NewVersion, Store};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
pub use toy::{OUTSIDE, Toy};

use crate::support::{Background, free_ports};

/// A home with versions of a toy, and the address that its service will have.
pub struct Home {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub url: String,
    pub client: Client,
}

impl Home {
    /// With version 1 deployed; `serve` are more lines of `[serve]`.
    pub async fn new(serve: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_ports();
        let spec = format!(
            "[model]\nname = \"toy\"\nbase = \"file:bert\"\n[data]\ntrain = \"file:rows.csv\"\n\
             [serve]\naddress = \"127.0.0.1:{port}\"\nengine = \"tract\"\nsessions = 2\n{serve}\n"
        );
        std::fs::write(folder.path().join("refit.toml"), spec).expect("written");
        let store = Store::open_home(&folder.path().join(".refit")).await.expect("a store");
        let url = format!("http://127.0.0.1:{port}");
        let home = Self { folder, store, url, client: Client::new() };
        home.register(&Toy::default()).await;
        home.promote("1").await;
        home
    }

    pub fn artifact(&self, version: &str) -> PathBuf {
        Store::artifact_dir(&self.folder.path().join(".refit"), "toy", version)
    }

    pub async fn register(&self, toy: &Toy) {
        let artifact = self.artifact(toy.version);
        toy.write(&artifact);
        let version = NewVersion {
            model: "toy".into(),
            version: toy.version.into(),
            artifact,
            run_id: None,
            parent: None,
            metrics: json!({}),
        };
        self.store.register_version(&version).await.expect("registered");
    }

    pub async fn promote(&self, version: &str) {
        let generation = self.store.deployment("toy").await.expect("a deployment").generation;
        self.store
            .set_champion("toy", generation, version, "a test says so", "test")
            .await
            .expect("promoted");
    }

    /// Starts the service and waits until it is ready.
    pub async fn serve(&self) -> Background {
        let service = self.start();
        self.until("it is ready", &service, async || {
            self.get("/v2/health/ready").await.is_some_and(|(status, _)| status == StatusCode::OK)
        })
        .await;
        service
    }

    /// Starts the service.
    pub fn start(&self) -> Background {
        Background::start(self.folder.path(), &["serve", "refit.toml", "--log-json"])
    }

    pub async fn get(&self, path: &str) -> Option<(StatusCode, String)> {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.ok()?;
        Some((answer.status(), answer.text().await.ok()?))
    }

    /// The answer to a text; none when there was no answer at all.
    pub async fn predict(&self, text: &str) -> Option<(StatusCode, Value)> {
        let request = self.client.post(format!("{}/v1/models/toy:predict", self.url));
        let answer = request.json(&json!({ "text": text })).send().await.ok()?;
        Some((answer.status(), answer.json().await.ok()?))
    }

    /// The value of a series, given as it is written.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await?;
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    pub async fn stored(&self) -> u64 {
        let since = jiff::Timestamp::UNIX_EPOCH;
        self.store.count_predictions("toy", since).await.expect("the store can be read")
    }

    /// Takes the store's only write lock, as a process that hangs in the middle of a write does.
    pub async fn hang_store(&self) -> SqliteConnection {
        let path = format!("sqlite://{}", self.store.path().display());
        let mut connection = SqliteConnection::connect(&path).await.expect("a connection");
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.expect("the lock");
        connection
    }

    pub async fn until(&self, what: &str, service: &Background, mut done: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !done().await {
            assert!(started.elapsed() < Duration::from_secs(60), "{what} took too long:\n{}", service.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Sets the soft and hard limit of open files of a process that runs.
pub fn limit_open_files(process: u32, files: usize) {
    let status = Command::new("prlimit")
        .args(["--pid", &process.to_string(), &format!("--nofile={files}:")])
        .status()
        .expect("prlimit starts");
    assert!(status.success());
}
