//! Learning rate, cross-validation and search through the command, on a tiny model.

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{json, refit, run, tiny};

const TRAIN: &str =
    "method = \"full\"\nlearning_rate = 1e-3\nepochs = 3\nbatch_size = 16\nthreads = 1\ndropout = 0.0";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Files of finished parts, by the beginning of their names.
fn parts(folder: &Path, kind: &str, name: &str) -> Vec<PathBuf> {
    let runs = std::fs::read_dir(folder.join(".refit").join(kind)).into_iter().flatten().flatten();
    let files = runs.flat_map(|run| std::fs::read_dir(run.path()).into_iter().flatten().flatten());
    let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
    files.retain(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)));
    files.sort();
    files
}

fn page(path: &Value) -> String {
    std::fs::read_to_string(path.as_str().expect("a path")).expect("a report")
}

/// Starts a command and kills it without a word once `done`.
fn killed(folder: &Path, arguments: &[&str], done: impl Fn() -> bool) {
    let mut child = refit(folder)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("refit starts");
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(120), "nothing was finished");
        assert!(child.try_wait().expect("a child").is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = Command::new("kill").args(["-KILL", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    child.wait().expect("it ends");
}

#[test]
fn a_range_test_suggests_a_rate_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), 400, TRAIN, "");
    let test = json(folder.path(), &["tune", "lr", "refit.toml", "--json"]);
    let points = test["points"].as_array().expect("points");
    assert!(points.len() >= 60, "{} steps", points.len());
    assert_eq!(number(&points[0]["rate"]), 1e-7);
    let suggested = number(&test["suggested"]);
    assert!((1e-5..1e-1).contains(&suggested), "{suggested}");
    assert!(suggested < number(&test["least_loss_at"]));
    let page = std::fs::read_to_string(folder.path().join(".refit/learning-rate.html")).expect("a report");
    assert!(page.contains("suggested") && page.contains("<svg"));
    assert!(!folder.path().join(".refit/artifacts").exists(), "the test makes no model");
    let again = json(folder.path(), &["tune", "lr", "refit.toml", "--json"]);
    assert_eq!(test, again, "a seed reproduces the test");
}

#[test]
fn folds_are_kept_and_their_figures_have_intervals() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), 400, TRAIN, "");
    let arguments = ["cross-validate", "refit.toml", "--folds", "3", "--json"];
    killed(folder.path(), &arguments, || !parts(folder.path(), "cross-validation", "fold-1").is_empty());
    let found = json(folder.path(), &arguments);
    assert!(number(&found["resumed"]) >= 1.0, "the first fold was not done again");
    let folds = found["folds"].as_array().expect("folds");
    assert_eq!(folds.len(), 3);
    let answered: f64 = folds.iter().map(|fold| number(&fold["test"])).sum();
    assert_eq!(answered, number(&found["rows"]), "every row is answered once");
    assert!(number(&found["test_rows_untouched"]) > 40.0);
    for name in ["f1_macro", "loss", "rightness"] {
        let mean = &found["means"][name];
        let by_hand = folds.iter().map(|fold| number(&fold["figures"][name])).sum::<f64>() / 3.0;
        assert!((number(&mean["estimate"]) - by_hand).abs() < 1e-12, "{name}");
        assert!(number(&mean["lower"]) < by_hand && by_hand < number(&mean["upper"]), "{name}");
    }
    // Rows are weighted alike, so the pooled figure is the mean of the folds weighted by their rows.
    let weighted: f64 =
        folds.iter().map(|fold| number(&fold["figures"]["rightness"]) * number(&fold["test"])).sum::<f64>();
    assert!((number(&found["pooled"]["estimate"]) - weighted / answered).abs() < 1e-6);
    assert_eq!(found["evaluation"]["metrics"]["rows"], found["rows"]);
    assert!(number(&found["pooled"]["lower"]) > 0.55, "the tiny model learns something: {}", found["pooled"]);

    let again = json(folder.path(), &arguments);
    assert_eq!((number(&again["resumed"]), &again["means"]), (3.0, &found["means"]));
    let fresh = tempfile::tempdir().expect("a folder");
    tiny::write(fresh.path(), 400, TRAIN, "");
    let fresh = json(fresh.path(), &arguments);
    assert_eq!(fresh["means"], found["means"], "a run that was killed ends as one that was not");
    let report = Path::new(found["folder"].as_str().expect("a folder")).join("report.html");
    assert!(std::fs::read_to_string(report).expect("a report").contains("Nadeau and Bengio"));
}

const SEARCH: &str = r#"
[search]
trials = 7
reduction = 2
[search.space]
"train.learning_rate" = { log = [1e-6, 1e-2] }
"train.batch_size" = [8, 32]
"train.layer_decay" = { uniform = [0.5, 1.0] }
"#;

#[test]
fn a_search_that_is_killed_goes_on_and_ends_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), 400, TRAIN, SEARCH);
    let arguments = ["search", "refit.toml", "--json"];
    killed(folder.path(), &arguments, || parts(folder.path(), "search", "trial-").len() >= 2);
    let found = json(folder.path(), &arguments);
    assert!(number(&found["resumed"]) >= 2.0);
    let trials = found["trials"].as_array().expect("trials");
    assert_eq!(trials.len(), 7);
    assert_eq!(trials[0]["settings"], serde_json::json!({}), "the first is the spec as it is");
    assert!(trials.iter().any(|trial| !trial["stopped"].is_null()), "some trial falls behind");
    for trial in trials.iter().filter(|trial| trial["stopped"].is_null()) {
        assert_eq!(trial["epochs"].as_array().expect("epochs").len(), 3, "{trial}");
    }
    // The best is the best on validation rows, and only it met the test rows.
    let value = |trial: &Value| trial["value"].as_f64().unwrap_or(f64::NEG_INFINITY);
    let best = trials.iter().map(value).fold(f64::NEG_INFINITY, f64::max);
    let number_of_best = number(&found["best"]["number"]) as usize;
    assert_eq!(value(&trials[number_of_best - 1]), best);
    assert_eq!(number(&found["best"]["validation"]), best, "trained again it is the same model");
    assert_eq!(found["best"]["evaluation"]["metrics"]["rows"], found["test_rows"]);
    assert!(page(&found["report"]).contains("answered once, at the end, by the best trial alone"));

    let fresh = tempfile::tempdir().expect("a folder");
    tiny::write(fresh.path(), 400, TRAIN, SEARCH);
    let fresh = json(fresh.path(), &arguments);
    let without_times = |found: &Value| -> Vec<Value> {
        let mut trials = found["trials"].as_array().expect("trials").clone();
        for trial in &mut trials {
            trial["seconds"] = Value::Null;
            for epoch in trial["epochs"].as_array_mut().expect("epochs") {
                epoch["seconds"] = Value::Null;
            }
        }
        trials
    };
    assert_eq!(without_times(&fresh), without_times(&found));
    assert_eq!(fresh["best"]["figures"], found["best"]["figures"]);

    // The best is a whole spec that trains as it is.
    let written = std::fs::read_to_string(folder.path().join("refit.best.toml")).expect("the best spec");
    assert_eq!(written, found["best_spec"].as_str().expect("a spec"));
    let made = run(folder.path(), &["check", "refit.best.toml"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), 60, TRAIN, "");
    let refused = |arguments: &[&str], says: &str| {
        let output = run(folder.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{arguments:?}: {said}");
    };
    refused(&["search", "refit.toml"], "there is nothing to search");
    refused(&["cross-validate", "refit.toml", "--folds", "1"], "ask for 2 at least");
    refused(&["cross-validate", "refit.toml", "--folds", "40"], "too few for 40 folds");
    refused(&["tune", "lr", "refit.toml", "--lowest", "1", "--highest", "0.1"], "has no rates");
}

#[test]
fn two_versions_are_compared_and_what_was_forgotten_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), 700, TRAIN, "");
    let spec = std::fs::read_to_string(folder.path().join("refit.toml")).expect("a spec");
    let spec = spec
        .replace("train = \"file:rows.csv\"", "train = \"file:rows.csv\"\nreference = \"file:reference.csv\"")
        .replace("epochs = 3", "epochs = 10");
    std::fs::write(folder.path().join("refit.toml"), spec).expect("written");
    // The reference rows are labelled the other way round: what is learned of the others is forgotten of them.
    let mut reference = tiny::rows(900).split_off(700);
    for (_, label) in &mut reference {
        *label = if label == "good" { "bad" } else { "good" }.to_owned();
    }
    support::write_csv(&folder.path().join("reference.csv"), &reference);

    let first = json(folder.path(), &["train", "refit.toml", "--output", "first", "--json"]);
    let spec = std::fs::read_to_string(folder.path().join("refit.toml")).expect("a spec");
    let weaker = spec.replace("learning_rate = 1e-3", "learning_rate = 1e-6");
    std::fs::write(folder.path().join("weaker.toml"), weaker).expect("written");
    json(folder.path(), &["train", "weaker.toml", "--output", "second", "--json"]);

    let metrics = &first["metrics"];
    let (before, after) = (number(&metrics["reference_before"]), number(&metrics["reference_after"]));
    assert!(after < before - 0.1, "{before} {after}");
    let report = std::fs::read_to_string(folder.path().join("first/report.html")).expect("a report");
    assert!(report.contains("What it forgot") && report.contains("it forgot"));
    assert!(report.contains("at a temperature of"), "confidences are calibrated");
    let calibration = std::fs::read_to_string(folder.path().join("first/calibration.json")).expect("shipped");
    let calibration: Value = serde_json::from_str(&calibration).expect("json");
    assert!(number(&calibration["log_loss_after"]) <= number(&calibration["log_loss_before"]));

    let found = json(folder.path(), &["compare", "first", "second", "refit.toml", "--json"]);
    let accuracy = &found["accuracy"];
    assert!(number(&accuracy["difference"]) < -0.1 && number(&accuracy["p_equal"]) < 0.01, "{accuracy}");
    let figure = &found["figures"][0];
    assert_eq!(figure["name"], "f1_macro");
    assert!(number(&figure["difference"]["upper"]) < 0.0, "{figure}");
    let page = std::fs::read_to_string(folder.path().join(".refit/comparison.html")).expect("a report");
    assert!(page.contains("first is more accurate") && page.contains("Only first is right:"));
    let same = json(folder.path(), &["compare", "first", "first", "refit.toml", "--json"]);
    assert_eq!((number(&same["accuracy"]["difference"]), number(&same["accuracy"]["p_equal"])), (0.0, 1.0));
}
