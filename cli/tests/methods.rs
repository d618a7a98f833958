//! Every method of fine-tuning, on a real model that was exported elsewhere and real texts, through the command.

mod support;

use refit_artifact::Bundle;
use std::path::Path;
use support::{json, newsgroups, run, write_csv, write_topics_spec};

const TOPICS: [&str; 2] = ["rec.autos", "sci.space"];
const ROWS_OF_EACH: usize = 240;

fn write_spec(folder: &Path, method: &str, more: &str) {
    write_topics_spec(folder, &format!("method = \"{method}\"\nepochs = 3\n{more}"), "");
}

/// Trains, and checks what holds for every method.
fn learns(method: &str, more: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    write_csv(&folder.path().join("topics.csv"), &newsgroups(&TOPICS, ROWS_OF_EACH));
    write_spec(folder.path(), method, more);
    let outcome = json(folder.path(), &["train", "refit.toml", "--json"]);
    assert_eq!(outcome["version"], "1");
    let metrics = &outcome["metrics"];
    assert!(
        metrics["accuracy_lower"].as_f64() > metrics["baseline_accuracy"].as_f64(),
        "{method}: {metrics}"
    );
    let bundle = Bundle::open(Path::new(outcome["artifact"].as_str().expect("a path"))).expect("intact");
    let parity = &bundle.manifest().parity;
    let judged: Vec<_> = parity.iter().filter(|check| check.tolerance.is_some()).collect();
    for form in ["merged", "float32 in tract", "float32 in onnxruntime"] {
        let check = judged.iter().find(|check| check.actual == form).unwrap_or_else(|| panic!("no {form}"));
        assert!(check.rows >= 64 && check.max_abs <= 1e-4, "{method}: {form}: {check:?}");
    }
    let text = "the rocket reached its orbit around the moon";
    let answer = json(folder.path(), &["predict", "refit.toml", "--version", "1", "--json", text]);
    assert_eq!(answer["label"], "sci.space", "{method}: {answer}");
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn full() {
    learns("full", "");
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn partial() {
    learns("partial(last_layers = 1)", "learning_rate = 2e-4");
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn lora() {
    learns("lora(rank = 8, alpha = 16, targets = query+value)", "");
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn feature_extraction() {
    learns("feature-extraction", "");
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn a_seed_reproduces_a_run_bit_for_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    write_csv(&folder.path().join("topics.csv"), &newsgroups(&TOPICS, 180));
    let weights = |seed: u64, output: &str| {
        write_spec(folder.path(), "full", &format!("seed = {seed}"));
        let made = run(folder.path(), &["train", "refit.toml", "--output", output]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::read(folder.path().join(output).join("model.float32.onnx")).expect("exported")
    };
    let first = weights(7, "first");
    assert!(first == weights(7, "again"), "the same seed gives the same file");
    assert!(first != weights(8, "other"), "another seed gives another model");
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn what_is_frozen_is_computed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    write_csv(&folder.path().join("topics.csv"), &newsgroups(&TOPICS, ROWS_OF_EACH));
    write_spec(folder.path(), "feature-extraction", "");
    let cache = folder.path().join("cache");
    // Downloads come from the usual cache, features go to a fresh one.
    let usual = refit_trainer::data::default_cache();
    std::fs::create_dir_all(&cache).expect("a folder");
    for part in ["pypi", "engines"] {
        if usual.join(part).exists() {
            std::os::unix::fs::symlink(usual.join(part), cache.join(part)).expect("a link");
        }
    }
    let cache = cache.to_str().expect("utf-8");
    let says = |output: &str| {
        let made = run(folder.path(), &["train", "refit.toml", "--cache", cache, "--output", output]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8_lossy(&made.stderr).into_owned()
    };
    let first = says("first");
    assert!(first.contains(" computed, 0 found in the cache"), "{first}");
    assert_eq!(
        first.matches(" computed, ").count(),
        2,
        "once for training, once for validation rows: {first}"
    );
    let second = says("second");
    assert_eq!(second.matches("0 computed, ").count(), 2, "{second}");
    let weights =
        |output: &str| std::fs::read(folder.path().join(output).join("model.float32.onnx")).unwrap();
    assert!(weights("first") == weights("second"), "the cache changes nothing");
}
