//! The whole loop on the real model and real texts, as a stranger runs it.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Background, free_ports};

/// The story takes four minutes on two quiet cores; a busy machine may take longer.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// A real Prometheus that scrapes the demo with the rules of this repository, stopped when dropped.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(folder: &Path, demo: u16) -> Self {
        let port = free_ports();
        let config = refit_tests::read("dashboards/prometheus.yml").expect("readable");
        let config = config
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{demo}"))
            .replace("127.0.0.1:8081", &format!("127.0.0.1:{}", demo + 1));
        std::fs::write(folder.join("prometheus.yml"), config).expect("writable");
        std::fs::copy(refit_tests::root().join("dashboards/rules.yml"), folder.join("rules.yml"))
            .expect("copied");
        let address = format!("127.0.0.1:{port}");
        let log = std::fs::File::create(folder.join("prometheus.log")).expect("a log");
        let child = Command::new("prometheus")
            .current_dir(folder)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed: cargo xtask setup");
        Self { child, address }
    }

    /// Number of series that an expression has now.
    async fn series(&self, expression: &str) -> usize {
        let mut url = reqwest::Url::parse(&format!("http://{}/api/v1/query", self.address)).expect("a url");
        url.query_pairs_mut().append_pair("query", expression);
        let answer = reqwest::get(url).await.expect("prometheus answers");
        let answer: Value = answer.json().await.expect("JSON");
        answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{expression}: {answer}")).len()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and fetches the real model: cargo xtask test"]
async fn the_demo_refits_itself_under_the_eyes_of_prometheus() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_ports();
    let prometheus = Prometheus::start(folder.path(), port);
    let mut demo = Background::start(
        folder.path(),
        &["demo", "--stay", "--port", &port.to_string(), "--home", "home", "--json", "figures.json"],
    );
    let started = Instant::now();
    let figures: Value = loop {
        let written = std::fs::read(folder.path().join("figures.json")).unwrap_or_default();
        if let Ok(figures) = serde_json::from_slice(&written) {
            break figures;
        }
        let logs = ["serve.log", "scheduler.log"]
            .map(|log| std::fs::read_to_string(folder.path().join("home").join(log)).unwrap_or_default());
        assert!(
            demo.is_running() && started.elapsed() < PATIENCE,
            "{}\n{}",
            demo.log(),
            logs.join("\n---\n")
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    it_went_well(&figures, &demo.log());

    let console = reqwest::get(format!("http://127.0.0.1:{}/", port + 1)).await.expect("the console answers");
    let console = console.text().await.expect("text");
    assert!(console.contains("refitted because accuracy fell"), "{console}");

    // Recorded rules follow the scrapes.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let mut empty = Vec::new();
    for (panel, expression) in refit_tests::panel_expressions().expect("a dashboard") {
        if prometheus.series(&expression).await == 0 {
            empty.push(format!("{panel}: {expression}"));
        }
    }
    assert!(empty.is_empty(), "panels without data:\n{}", empty.join("\n"));
    demo.stop();
}

fn it_went_well(figures: &Value, said: &str) {
    let figure =
        |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("no figure {name} in {figures}"));
    assert!(figure("v1.test.accuracy_lower") > figure("v1.test.baseline"), "{said}");
    assert!(figure("parity.max_abs") <= 1e-4, "{said}");
    assert!(figure("live.degraded") < figure("live.before") - 0.03, "the change has to hurt: {said}");
    assert!(figure("live.recovered") > figure("live.degraded"), "the refit has to heal: {said}");
    assert_eq!(figure("alarms.calm"), 0.0, "{said}");
    assert_eq!(figure("requests.failed"), 0.0, "{said}");
    let decisions = figures["decisions"].as_array().expect("decisions");
    let kinds: Vec<&str> = decisions.iter().filter_map(|decision| decision["kind"].as_str()).collect();
    for kind in ["alarm", "refit", "trained", "canary", "promote"] {
        assert!(kinds.contains(&kind), "{kind} is not among {kinds:?}: {said}");
    }
}

#[test]
fn errors_are_one_sentence() {
    for (arguments, says) in [
        (vec!["train", "no-such.toml"], "no-such.toml cannot be read"),
        (vec!["check", "no-such.toml"], "no-such.toml cannot be read"),
        (vec!["gate", "no-such.toml", "--champion", "1", "--challenger", "2"], "no-such.toml cannot be read"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_refit")).args(&arguments).output().expect("runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
}
