//! A real service over real, tiny artifacts, for the tests.

mod toy;

use std::{path::Path, time::Duration};

use refit_inference::{DrainConfig, ServeConfig, ServeError, Server, Source};
use refit_store::{NewVersion, Store};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

pub use toy::Toy;

/// A service that runs in this process, on a port of its own.
pub struct Service {
    pub url: String,
    pub client: Client,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), ServeError>>,
}

impl Service {
    pub async fn start(config: ServeConfig) -> Self {
        let server = Server::bind(config).await.unwrap();
        let url = format!("http://{}", server.address().unwrap());
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { url, client: Client::new(), stop, ended }
    }

    /// Asks it to stop; the handle ends when it has.
    pub fn stop(self) -> JoinHandle<Result<(), ServeError>> {
        self.stop.send(()).unwrap();
        self.ended
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let response = self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// The answer to one text.
    pub async fn predict(&self, text: &str) -> Value {
        let (status, answer) = self.post("/v1/models/toy:predict", &json!({ "text": text })).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    pub async fn metrics(&self) -> String {
        self.client.get(format!("{}/metrics", self.url)).send().await.unwrap().text().await.unwrap()
    }

    /// The value of a series, given as it is written: `name{label="..."}`.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let prefix = format!("{series} ");
        self.metrics().await.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok())
    }

    pub async fn until_ready(&self) {
        self.until("the service is ready", async || self.get("/v2/health/ready").await.0 == StatusCode::OK)
            .await;
    }

    /// Waits for something that must come true soon.
    pub async fn until(&self, what: &str, is_true: impl AsyncFn() -> bool) {
        for _ in 0..400 {
            if is_true().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("waited in vain until {what}");
    }
}

/// Quick to poll, quick to stop.
pub fn config(source: Source) -> ServeConfig {
    let mut config = ServeConfig::new(source, Path::new("/nowhere/cache"));
    config.address = ([127, 0, 0, 1], 0).into();
    config.poll = Duration::from_millis(20);
    config.drain = DrainConfig { delay: Duration::ZERO, timeout: Duration::from_secs(10) };
    config.workers = 2;
    config
}

/// A home with a store and registered toy models.
pub struct Home {
    pub folder: tempfile::TempDir,
    pub store: Store,
}

impl Home {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_home(folder.path()).await.unwrap();
        Self { folder, store }
    }

    pub fn config(&self) -> ServeConfig {
        config(Source::Home(self.folder.path().to_owned()))
    }

    /// Writes and registers a version.
    pub async fn register(&self, toy: &Toy) {
        let artifact = Store::artifact_dir(self.folder.path(), "toy", toy.version);
        toy.write(&artifact);
        self.register_at(toy.version, &artifact).await;
    }

    pub async fn register_at(&self, version: &str, artifact: &Path) {
        let version = NewVersion {
            model: "toy".into(),
            version: version.into(),
            artifact: artifact.into(),
            run_id: None,
            parent: None,
            metrics: json!({}),
        };
        self.store.register_version(&version).await.unwrap();
    }

    /// Writes, registers and deploys version 1 of a model of another name.
    pub async fn deploy(&self, model: &str, toy: &Toy) {
        let artifact = Store::artifact_dir(self.folder.path(), model, toy.version);
        toy.write_as(model, &artifact);
        let version = NewVersion {
            model: model.into(),
            version: toy.version.into(),
            artifact,
            run_id: None,
            parent: None,
            metrics: json!({}),
        };
        self.store.register_version(&version).await.unwrap();
        self.store.set_champion(model, 0, toy.version, "a test says so", "test").await.unwrap();
    }

    pub async fn shadow(&self, version: &str, percent: f64) {
        let generation = self.store.deployment("toy").await.unwrap().generation;
        self.store.set_shadow("toy", generation, version, percent, "a test says so").await.unwrap();
    }

    pub async fn promote(&self, version: &str) {
        let generation = self.store.deployment("toy").await.unwrap().generation;
        self.store.set_champion("toy", generation, version, "a test says so", "test").await.unwrap();
    }

    pub async fn canary(&self, version: &str, percent: f64) {
        let generation = self.store.deployment("toy").await.unwrap().generation;
        self.store.set_canary("toy", generation, version, percent, "a test says so").await.unwrap();
    }
}

/// A service that serves one toy from its folder.
pub async fn fixed(toy: Toy, change: impl FnOnce(&mut ServeConfig)) -> (Service, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("artifact");
    toy.write(&path);
    let mut config = config(Source::Artifact(path));
    change(&mut config);
    (Service::start(config).await, folder)
}
