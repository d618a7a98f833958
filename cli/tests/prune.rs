//! A pruned model is trained, served and refitted as any other, and is really smaller.

mod support;

use refit_artifact::{Bundle, files};
use refit_families::read_exported;
use refit_passes::edit::{PruneWeights, ZeroWeights};
use std::path::Path;
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

/// The least share of zeros among the layers of an artifact's float32 file, and the count of all.
fn zeros(artifact: &Path) -> (f64, ZeroWeights) {
    let bundle = Bundle::open(artifact).expect("intact");
    let model = read_exported(bundle.read(files::MODEL_FLOAT32).expect("the file").into()).expect("a model");
    let share = |id| {
        let values = model.graph.initializer(id).and_then(|weight| weight.tensor.to_f32()).expect("floats");
        values.iter().filter(|value| **value == 0.0).count() as f64 / values.len() as f64
    };
    let layers = PruneWeights::layers(&model.graph);
    assert!(layers.len() >= 3 * 6, "six linear layers in each of three: {}", layers.len());
    (layers.into_iter().map(share).fold(1.0, f64::min), ZeroWeights::of(&model.graph))
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn weights_that_are_pruned_stay_zero_through_training_and_a_refit() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_csv(&folder.join("topics.csv"), &newsgroups(&["rec.autos", "sci.space"], 240));
    let train = "method = \"full\"\nepochs = 3\nlearning_rate = 5e-5\naveraging = { decay = 0.99 }\n\
                 prune = { weights = 0.5 }";
    write_topics_spec(folder, train, "[export]\nquantize = { format = \"none\" }");
    let outcome = json(folder, &["train", "refit.toml", "--json"]);
    let metrics = &outcome["metrics"];
    assert!(metrics["accuracy_lower"].as_f64() > metrics["baseline_accuracy"].as_f64(), "{metrics}");
    let artifact = Path::new(outcome["artifact"].as_str().expect("a path"));
    let (least, found) = zeros(artifact);
    assert!(least >= 0.5 && found.share() < 0.51, "{least}: {found}");
    assert!((metrics["zero_weights"].as_f64().expect("a share") - found.share()).abs() < 1e-9, "{metrics}");
    let report = std::fs::read_to_string(artifact.join("report.html")).expect("a report");
    assert!(report.contains(&found.to_string()), "the report says how many weights are zero");

    let promoted = run(folder, &["promote", "refit.toml", "1"]);
    assert!(promoted.status.success(), "{}", String::from_utf8_lossy(&promoted.stderr));
    let again = json(folder, &["train", "refit.toml", "--start", "champion", "--json"]);
    let (least, after) = zeros(Path::new(again["artifact"].as_str().expect("a path")));
    assert!(least >= 0.5, "{least}: {after}");
    assert_eq!(after, found, "the refit kept the champion's zeros and made no others");
}
