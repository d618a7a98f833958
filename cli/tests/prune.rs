//! A pruned model is trained, served and refitted as any other, and is really smaller.

mod support;

use refit_artifact::Bundle;
use support::{json, newsgroups, run, write_csv, write_topics_spec};

const TRAIN: &str =
    "method = \"full\"\nepochs = 4\nlearning_rate = 5e-5\nprune = { heads = 0.5, feed_forward = 0.5 }";

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn a_pruned_model_learns_is_smaller_and_is_refitted() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_csv(&folder.join("topics.csv"), &newsgroups(&["rec.autos", "sci.space"], 240));
    let none = "[export]\nquantize = { format = \"none\" }";
    write_topics_spec(folder, "method = \"feature-extraction\"\nepochs = 1", none);
    let made = run(folder, &["train", "refit.toml", "--output", "whole"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    write_topics_spec(folder, TRAIN, none);
    let outcome = json(folder, &["train", "refit.toml", "--json"]);
    let metrics = &outcome["metrics"];
    assert!(metrics["accuracy_lower"].as_f64() > metrics["baseline_accuracy"].as_f64(), "{metrics}");

    let bytes = |path: &std::path::Path| {
        let bundle = Bundle::open(path).expect("intact");
        let file = &bundle.manifest().serving.file;
        bundle.manifest().files[file].bytes
    };
    let artifact = std::path::Path::new(outcome["artifact"].as_str().expect("a path"));
    let (whole, pruned) = (bytes(&folder.join("whole")), bytes(artifact));
    // Of three layers half of the heads and half of the columns go: some 2.7 million weights of float32.
    assert!(pruned + 9_000_000 < whole, "{pruned} of {whole} bytes");
    let report = std::fs::read_to_string(artifact.join("report.html")).expect("a report");
    assert!(report.contains("50 % of the heads"), "the report says what was taken out");

    // A refit starts from the pruned champion's weights and takes out what it lacks.
    let promoted = run(folder, &["promote", "refit.toml", "1"]);
    assert!(promoted.status.success(), "{}", String::from_utf8_lossy(&promoted.stderr));
    let again = json(folder, &["train", "refit.toml", "--start", "champion", "--json"]);
    assert_eq!(again["version"], "2", "{again}");
    let again = std::path::Path::new(again["artifact"].as_str().expect("a path"));
    assert_eq!(bytes(again), pruned);
    let text = "the rocket reached its orbit around the moon";
    let answer = json(folder, &["predict", "refit.toml", "--version", "2", "--json", text]);
    assert_eq!(answer["label"], "sci.space", "{answer}");
}
