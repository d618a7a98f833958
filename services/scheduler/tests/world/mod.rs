//! A small world for the scheduler: a store with a champion and labels, a service that only has metrics, and a `refit`
//! that only pretends to train. The real loop is tested with the real parts; here the steps of the machine are.

// Each test program uses a part of it.
#![allow(dead_code, reason = "shared by several test programs")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use refit_artifact::{Manifest, Precision, Serving};
use refit_scheduler::SchedulerConfig;
use refit_spec::Spec;
use refit_store::{Feedback, NewVersion, PredictionRecord, Role, Store};

pub const MODEL: &str = "reviews";

pub struct World {
    pub folder: tempfile::TempDir,
    pub service: Service,
}

/// What the pretended `refit` does: `{train}` and `{gate}` are bash.
pub struct Acts {
    pub train: &'static str,
    pub gate: &'static str,
}

pub const WELL: Acts = Acts {
    train: r#"sleep 0.4; echo '{"version": "2", "artifact": "x"}'"#,
    gate: r#"echo '{"passed": true, "reasons": ["no worse on recent rows"], "recent": {"rows": 60, "challenger_accuracy": 0.9}, "test": {"rows": 1000, "challenger_accuracy": 0.85}}'"#,
};

impl World {
    /// Version 1 serves and is right in `right` of every 10 answers; version 2 is there for the pretended training.
    pub async fn new(acts: &Acts, labels: usize, right: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { service: Service::start(), folder };
        std::fs::write(world.spec_path(), spec()).unwrap();
        world.write_binary(acts);
        let store = world.store().await;
        for version in ["1", "2"] {
            world.register(&store, version).await;
        }
        store.set_champion(MODEL, 0, "1", "the first", "test").await.unwrap();
        give_labels(&store, "1", labels, right).await;
        world
    }

    pub fn spec_path(&self) -> PathBuf {
        self.folder.path().join("refit.toml")
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub async fn store(&self) -> Store {
        Store::open_home(&self.home()).await.unwrap()
    }

    pub fn write_binary(&self, acts: &Acts) {
        let script = format!(
            "#!/bin/bash\necho \"$@\" >> {calls}\ncase \"$1\" in\ntrain) {} ;;\ngate) {} ;;\nesac\n",
            acts.train,
            acts.gate,
            calls = self.folder.path().join("calls").display()
        );
        // Renamed into place, so that no scheduler ever starts a file that is still open for writing.
        let temporary = self.folder.path().join("refit.tmp");
        std::fs::write(&temporary, script).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&temporary, self.binary()).unwrap();
    }

    pub fn binary(&self) -> PathBuf {
        self.folder.path().join("refit")
    }

    /// The command lines with which the pretended `refit` was started.
    pub fn calls(&self, command: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        text.lines().filter(|line| line.starts_with(command)).map(str::to_owned).collect()
    }

    pub fn config(&self) -> SchedulerConfig {
        config(&self.spec_path(), &self.home(), &self.binary(), &self.service.address)
    }

    async fn register(&self, store: &Store, version: &str) {
        let artifact = Path::new("artifacts").join(MODEL).join(version);
        let folder = self.home().join(&artifact);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest()).unwrap()).unwrap();
        let new = NewVersion {
            model: MODEL.to_owned(),
            version: version.to_owned(),
            artifact,
            run_id: None,
            parent: None,
            metrics: serde_json::json!({}),
        };
        store.register_version(&new).await.unwrap();
    }
}

pub fn config(spec_path: &Path, home: &Path, binary: &Path, service: &str) -> SchedulerConfig {
    let text = std::fs::read_to_string(spec_path).unwrap();
    let spec = Spec::parse(&text, spec_path.parent().unwrap()).unwrap();
    let mut config = SchedulerConfig::from_spec(spec, spec_path, home, binary);
    config.inference = vec![service.to_owned()];
    config.missing_grace = Duration::ZERO;
    config
}

fn spec() -> &'static str {
    r#"
[model]
name = "reviews"
base = "file:base"
task = "text-classification"
[data]
train = "file:rows.csv"
text = "text"
label = "label"
[serve]
canary = { steps = [50, 100], min_requests = 60 }
[monitor]
drift = { window = "1s", min_rows = 20 }
[refit]
when = ["accuracy falls by more than 0.02"]
min_labels = 20
poll = "20ms"
address = "127.0.0.1:0"
"#
}

fn manifest() -> Manifest {
    Manifest {
        schema_version: 1,
        model: MODEL.to_owned(),
        version: None,
        created_at: jiff::Timestamp::now(),
        code_version: "0.1.0".to_owned(),
        task: "text-classification".to_owned(),
        labels: vec!["neg".to_owned(), "pos".to_owned()],
        scale: None,
        files: BTreeMap::new(),
        config: String::new(),
        data_fingerprint: String::new(),
        base: "file:base".to_owned(),
        parent: None,
        metrics: BTreeMap::from([("accuracy".to_owned(), 0.9), ("rows".to_owned(), 1000.0)]),
        serving: Serving {
            file: "model.float32.onnx".to_owned(),
            precision: Precision::Float32,
            float_layers: Vec::new(),
            engine: "tract".to_owned(),
            reason: "the only one".to_owned(),
        },
        searches: Vec::new(),
        parity: Vec::new(),
    }
}

/// Predictions of `version` with their labels.
pub async fn give_labels(store: &Store, version: &str, labels: usize, right: usize) {
    let record = |row: usize| PredictionRecord {
        id: uuid::Uuid::now_v7(),
        model: MODEL.to_owned(),
        version: version.to_owned(),
        role: Role::Champion,
        text: format!("text {row} for {version}"),
        label: "pos".to_owned(),
        confidence: 0.9,
        probabilities: vec![0.1, 0.9],
        predicted_at: jiff::Timestamp::now(),
    };
    let records: Vec<PredictionRecord> = (0..labels).map(record).collect();
    store.insert_predictions(&records).await.unwrap();
    let feedback: Vec<Feedback> = records
        .iter()
        .enumerate()
        .map(|(row, record)| Feedback {
            prediction_id: record.id.to_string(),
            label: if row % 10 < right { "pos" } else { "neg" }.to_owned(),
        })
        .collect();
    for accepted in store.give_feedback_batch(&feedback).await.unwrap() {
        accepted.unwrap();
    }
}

/// Answers every request with metrics in which both versions serve and answer more each time.
pub struct Service {
    pub address: String,
    /// Requests of version 2 that fail, of every 100.
    pub failing: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (stop, failing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, fails) = (stop.clone(), failing.clone());
        std::thread::spawn(move || {
            let mut looks = 0;
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        looks += 1;
                        answer(&mut stream, &metrics(looks, fails.load(Ordering::Relaxed)));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { address, failing, stop }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn answer(stream: &mut std::net::TcpStream, body: &str) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    // The scheduler may have been killed while it waited.
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
}

fn metrics(looks: u64, failing: u64) -> String {
    let mut text = String::new();
    for (version, role) in [("1", "champion"), ("2", "canary"), ("2", "champion")] {
        text +=
            &format!("refit_served_version{{model=\"reviews\",version=\"{version}\",role=\"{role}\"}} 1\n");
    }
    for version in ["1", "2"] {
        let labels = format!("model=\"reviews\",version=\"{version}\"");
        let failed = if version == "2" { looks * failing / 5 } else { 0 };
        text += &format!("refit_predictions_total{{{labels}}} {}\n", looks * 20 - failed);
        text += &format!("refit_prediction_failures_total{{{labels}}} {failed}\n");
        for (bin, share) in [("00 short", 12), ("01 long", 8)] {
            let bin = format!("{labels},feature=\"text_length\",bin=\"{bin}\"");
            text += &format!("refit_reference_observations{{{bin}}} {}\n", share * 50);
            text += &format!("refit_observations_total{{{bin}}} {}\n", looks * share);
        }
    }
    text
}

/// Waits until `done` says so.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut done: F) {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// The kinds of all decisions that belong to a run, in their order; alarms come and go by the clock.
pub async fn run_decisions(store: &Store) -> Vec<String> {
    let decisions = store.decisions(Some(MODEL), 1000).await.unwrap();
    decisions.into_iter().map(|decision| decision.kind).filter(|kind| !kind.starts_with("alarm")).collect()
}

/// The version that serves.
pub async fn champion(store: &Store) -> String {
    store.deployment(MODEL).await.unwrap().champion.unwrap().version
}
