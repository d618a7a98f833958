//! The whole loop on the real model and real texts, as a stranger runs it.

mod support;

use serde_json::Value;
use std::process::Command;

#[test]
#[ignore = "takes minutes and fetches the real model: cargo xtask test"]
fn the_demo_refits_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path().join("home");
    let json = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_refit"))
        .args(["demo", "--port", &support::free_ports().to_string(), "--home"])
        .arg(&home)
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the demo starts");
    let logs = ["serve.log", "scheduler.log"]
        .map(|log| std::fs::read_to_string(home.join(log)).unwrap_or_default())
        .map(|log| log.lines().rev().take(30).collect::<Vec<_>>().join("\n"))
        .join("\n---\n");
    let said = format!(
        "{}\n{}\n{logs}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    let figures: Value =
        serde_json::from_slice(&std::fs::read(&json).expect("the figures are written")).expect("JSON");
    let figure =
        |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("no figure {name} in {figures}"));

    assert!(figure("v1.test.accuracy_lower") > figure("v1.test.baseline"), "{said}");
    assert!(figure("parity.max_abs") <= 1e-4, "{said}");
    assert!(figure("live.degraded") < figure("live.before") - 0.03, "the change has to hurt: {said}");
    assert!(figure("live.recovered") > figure("live.degraded"), "the refit has to heal: {said}");
    assert_eq!(figure("requests.failed"), 0.0, "{said}");
    let kinds: Vec<&str> = figures["decisions"]
        .as_array()
        .expect("decisions")
        .iter()
        .filter_map(|d| d["kind"].as_str())
        .collect();
    for kind in ["refit", "trained", "canary", "promote"] {
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
