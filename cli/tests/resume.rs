//! A run that is killed, stopped, or left without disk goes on from its checkpoint with the same bytes.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{refit, tiny};

const TRAIN: &str = "method = \"full\"\nlearning_rate = 1e-3\nepochs = 6\nbatch_size = 4\naccumulate = 2\n\
                     dropout = 0.1\nthreads = 1\naveraging = { decay = 0.99 }\nmixup = 0.2\ncheckpoint = { steps = 7, every = \"1h\", keep = 2 }";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), 600, TRAIN, "");
    folder
}

fn train(folder: &Path, output: &str, more: &[&str]) -> Output {
    refit(folder).args(["train", "refit.toml", "--output", output]).args(more).output().expect("refit starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn checkpoints(folder: &Path, output: &str) -> Vec<PathBuf> {
    kept_in(&folder.join(format!(".{output}.checkpoints")))
}

fn kept_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "ckpt"));
    files.sort();
    files
}

fn weights(folder: &Path, output: &str) -> Vec<u8> {
    std::fs::read(folder.join(output).join("model.float32.onnx")).expect("a model")
}

/// Starts a training and does `what` to it once `done` of its checkpoints.
fn interrupted(folder: &Path, output: &str, signal: &str, done: impl Fn(&[PathBuf]) -> bool) -> Output {
    let mut command = refit(folder);
    command.args(["train", "refit.toml", "--output", output]).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().expect("refit starts");
    let started = Instant::now();
    while !done(&checkpoints(folder, output)) {
        assert!(started.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    child.wait_with_output().expect("it ends")
}

#[test]
fn killed_at_any_moment_it_ends_with_the_same_bytes() {
    let folder = folder();
    let folder = folder.path();
    let whole = train(folder, "whole", &[]);
    assert!(whole.status.success(), "{}", said(&whole));
    assert!(checkpoints(folder, "whole").is_empty(), "a finished run leaves none");

    // Killed again and again, after one checkpoint more each time, until a run gets through.
    let mut seen: Option<PathBuf> = None;
    for _ in 0..4 {
        let known = seen.clone();
        interrupted(folder, "cut", "-KILL", |files| {
            files.last().is_some_and(|last| Some(last) > known.as_ref())
        });
        seen = checkpoints(folder, "cut").last().cloned();
    }
    let resumed = train(folder, "cut", &["--resume"]);
    assert!(resumed.status.success(), "{}", said(&resumed));
    assert!(said(&resumed).contains("goes on from the checkpoint of step"), "{}", said(&resumed));
    assert!(weights(folder, "whole") == weights(folder, "cut"), "a run that was killed made other weights");
    let curve = |output: &str| {
        let report = std::fs::read_to_string(folder.join(output).join("metrics.json")).expect("metrics");
        serde_json::from_str::<serde_json::Value>(&report).expect("JSON")
    };
    assert_eq!(curve("whole"), curve("cut"));
}

#[test]
fn a_signal_keeps_the_state_first() {
    let folder = folder();
    let folder = folder.path();
    assert!(train(folder, "whole", &[]).status.success());
    let stopped = interrupted(folder, "cut", "-TERM", |files| !files.is_empty());
    assert_eq!(stopped.status.code(), Some(75), "{}", said(&stopped));
    assert!(said(&stopped).contains("the same command goes on from there"), "{}", said(&stopped));
    assert!(!said(&stopped).contains("refit: "), "a stop is no complaint: {}", said(&stopped));
    let resumed = train(folder, "cut", &[]);
    assert!(resumed.status.success(), "{}", said(&resumed));
    assert!(weights(folder, "whole") == weights(folder, "cut"));
}

#[test]
fn a_bad_last_file_falls_back_to_the_one_before() {
    let folder = folder();
    let folder = folder.path();
    assert!(train(folder, "whole", &[]).status.success());
    interrupted(folder, "cut", "-KILL", |files| files.len() == 2);
    let files = checkpoints(folder, "cut");
    let last = files.last().expect("two");
    let mut bytes = std::fs::read(last).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(last, &bytes).expect("writable");
    let resumed = train(folder, "cut", &[]);
    let text = said(&resumed);
    assert!(resumed.status.success(), "{text}");
    // Which of the two it is depends on whether a number or a name was hit.
    let noticed = ["its checksum is wrong", "it is truncated or was written by another version of refit"];
    assert!(noticed.iter().any(|why| text.contains(&format!("is passed over: {why}"))), "{text}");
    assert!(text.contains("goes on from the checkpoint of step"), "{text}");
    assert!(weights(folder, "whole") == weights(folder, "cut"));
}

#[test]
fn what_changed_is_never_taken_up_in_silence() {
    let folder = folder();
    let folder = folder.path();
    interrupted(folder, "cut", "-KILL", |files| !files.is_empty());
    tiny::write_spec(folder, &TRAIN.replace("1e-3", "2e-3"), "");
    let refused = train(folder, "cut", &["--resume"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("train.learning_rate was 0.001 and is 0.002"), "{}", said(&refused));
    let anew = train(folder, "cut", &[]);
    assert!(anew.status.success(), "{}", said(&anew));
    assert!(said(&anew).contains("train.learning_rate was 0.001 and is 0.002"), "{}", said(&anew));
    assert!(said(&anew).contains("starts from the beginning"), "{}", said(&anew));

    tiny::write_spec(folder, TRAIN, "");
    interrupted(folder, "rows", "-KILL", |files| !files.is_empty());
    support::write_csv(&folder.join("rows.csv"), &tiny::rows(560));
    let refused = train(folder, "rows", &["--resume"]);
    assert!(said(&refused).contains("the rows are others"), "{}", said(&refused));
    let nothing = train(folder, "never", &["--resume"]);
    assert!(said(&nothing).contains("there is no checkpoint to go on from"), "{}", said(&nothing));
    assert!(!folder.join(".never.checkpoints").exists());
}

#[test]
fn a_full_disk_is_told_and_the_run_goes_on() {
    let folder = folder();
    let folder = folder.path();
    interrupted(folder, "cut", "-KILL", |files| !files.is_empty());
    let size = std::fs::metadata(&checkpoints(folder, "cut")[0]).expect("a file").len();
    // No file may grow to the size of a checkpoint; the artifact's files are smaller.
    let limit = size / 1024 * 3 / 4;
    let script = format!(
        "trap '' XFSZ; ulimit -f {limit}; exec {} train refit.toml --output cut --log-json",
        env!("CARGO_BIN_EXE_refit")
    );
    let output =
        Command::new("bash").args(["-c", &script]).current_dir(folder).output().expect("refit starts");
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("goes on from the checkpoint of step"), "{text}");
    assert!(text.contains("cannot be written"), "{text}");
    assert!(text.contains("training goes on"), "{text}");
    assert!(train(folder, "whole", &[]).status.success());
    assert!(weights(folder, "whole") == weights(folder, "cut"));
}

#[test]
fn two_runs_do_not_write_to_one_folder() {
    let folder = folder();
    let folder = folder.path();
    let mut first = refit(folder);
    first.args(["train", "refit.toml", "--output", "one"]).stderr(Stdio::null()).stdout(Stdio::null());
    let mut first = first.spawn().expect("refit starts");
    while checkpoints(folder, "one").is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = train(folder, "one", &[]);
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("another run is writing to"), "{}", said(&second));
    assert!(first.wait().expect("it ends").success(), "the first is not disturbed");
    let third = train(folder, "one", &[]);
    assert!(said(&third).contains("is there already"), "{}", said(&third));
}

#[test]
fn by_hand_the_unfinished_run_is_found() {
    let folder = folder();
    let folder = folder.path();
    let checkpoint = folder.join(".refit/artifacts/tiny/.1.checkpoints");
    let mut command = refit(folder);
    let mut child =
        command.args(["train", "refit.toml"]).stderr(Stdio::null()).spawn().expect("refit starts");
    let started = Instant::now();
    while kept_in(&checkpoint).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let resumed = refit(folder).args(["train", "refit.toml", "--json"]).output().expect("refit starts");
    let text = said(&resumed);
    assert!(resumed.status.success(), "{text}");
    assert!(text.contains("goes on from the checkpoint of step"), "{text}");
    let outcome: serde_json::Value = serde_json::from_slice(&resumed.stdout).expect("JSON");
    assert_eq!(outcome["version"], "1", "the version keeps its number");
}
