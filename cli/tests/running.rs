//! How a run behaves: what it says first, what it takes, and how it ends when something is not finite.

mod support;

use std::path::Path;
use std::process::Output;
use support::{refit, tiny};

const TRAIN: &str = "learning_rate = 1e-3\nepochs = 2\nbatch_size = 8\ndropout = 0.1\nthreads = 1";

fn train(folder: &Path, output: &str) -> Output {
    refit(folder).args(["train", "refit.toml", "--output", output]).output().expect("refit starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn weights(folder: &Path, output: &str) -> Vec<u8> {
    std::fs::read(folder.join(output).join("model.float32.onnx")).expect("a model")
}

#[test]
fn the_first_line_says_what_computes_and_why() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), 400, TRAIN, "");
    let output = train(folder.path(), "made");
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let first = text.lines().next().unwrap_or_default();
    assert!(first.starts_with("device") && first.contains("the CPU, because"), "{first}");
    assert!(first.contains("this build has no CUDA") || first.contains("no GPU can be used"), "{first}");
    assert!(text.contains("of memory;"), "an estimate before the first step: {text}");

    tiny::write_spec(folder.path(), &format!("{TRAIN}\ndevice = \"cuda\""), "");
    let refused = train(folder.path(), "never");
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("train.device = \"cuda\" was asked for"), "{}", said(&refused));
}

#[test]
fn activations_computed_again_change_no_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    tiny::write(folder, 500, TRAIN, "");
    assert!(train(folder, "all").status.success());
    tiny::write_spec(folder, &format!("{TRAIN}\nactivation_checkpointing = true"), "");
    let output = train(folder, "again");
    assert!(output.status.success(), "{}", said(&output));
    assert!(weights(folder, "all") == weights(folder, "again"), "dropout or gradients differ");
}

/// Gradients of parts add up to those of the whole: the weights differ by rounding alone.
#[test]
fn accumulated_gradients_are_those_of_a_large_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let losses = |output: &str, batch: &str| {
        let train_keys = format!("learning_rate = 1e-3\nepochs = 1\ndropout = 0.0\nthreads = 1\n{batch}");
        tiny::write_spec(folder, &train_keys, "");
        let made = train(folder, output);
        assert!(made.status.success(), "{}", said(&made));
        let text = said(&made);
        let line = text.lines().find(|line| line.starts_with("epoch 1")).expect("an epoch").to_owned();
        line.split(',').nth(1).expect("a validation loss").to_owned()
    };
    // All rows in one step: the order of rows, which depends on the size of batches, does not matter.
    tiny::write(folder, 400, "", "");
    assert_eq!(losses("whole", "batch_size = 400"), losses("parts", "batch_size = 8\naccumulate = 100"));
}

#[test]
fn what_is_not_finite_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    tiny::write(folder, 200, TRAIN, "");
    let path = folder.join("bert/model.safetensors");
    let mut bytes = std::fs::read(&path).expect("readable");
    let head = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + head]).expect("a header");
    let (name, place) = header
        .as_object()
        .expect("names")
        .iter()
        .find(|(name, _)| name.ends_with("layer.1.output.dense.bias"))
        .expect("a bias");
    let start = 8 + head + place["data_offsets"][0].as_u64().expect("a place") as usize;
    bytes[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, &bytes).expect("writable");
    let output = train(folder, "made");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let sentences: Vec<&str> = text.lines().filter(|line| line.starts_with("refit: ")).collect();
    assert_eq!(sentences.len(), 1, "{text}");
    for words in ["step 0", "not a number", "layer.1.output.dense.bias", "rows.csv:"] {
        assert!(sentences[0].contains(words), "{words:?} ({name}) is not in: {}", sentences[0]);
    }
    assert!(!folder.join("made").exists());
}

#[test]
fn rows_that_are_cut_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), 400, TRAIN, "");
    let spec = std::fs::read_to_string(folder.path().join("refit.toml")).expect("a spec");
    std::fs::write(folder.path().join("refit.toml"), spec.replace("max_length = 16", "max_length = 8"))
        .expect("writable");
    let output = train(folder.path(), "made");
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("rows are longer than 8 tokens and were cut"), "{text}");
}
