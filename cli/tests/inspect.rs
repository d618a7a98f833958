//! `refit inspect` on small files of every kind.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn inspect(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(env!("CARGO_BIN_EXE_refit"))
        .arg("inspect")
        .args(arguments)
        .current_dir(root)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = inspect(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(values: &Value) -> Vec<&str> {
    values.as_array().unwrap().iter().map(|value| value["name"].as_str().unwrap()).collect()
}

#[test]
fn a_folder_a_graph_and_weights_are_shown() {
    let folder = json(&["crates/families/tests/data/tiny-deberta-v3"]);
    assert_eq!((&folder["format"], &folder["kind"]), (&"hugging-face".into(), &"deberta-v2".into()));
    assert_eq!(names(&folder["layers"]), ["outside of layers", "layer 0", "layer 1"]);
    assert_eq!(folder["head"]["at"], "last_hidden_state");
    // 16 x 2 and 2 in the head; rank 8 over 16 wide queries and values of two layers.
    assert_eq!(folder["methods"][2]["trainable"], 34);
    assert_eq!(folder["methods"][3]["trainable"], 34 + 2 * 2 * 2 * 8 * 16);

    let graph = json(&["tests/tests/data/exports/classifier.onnx"]);
    assert_eq!(graph["kind"], "onnx, opset 17");
    assert_eq!(names(&graph["inputs"]), ["input_ids", "attention_mask", "token_type_ids"]);
    assert_eq!(names(&graph["outputs"]), ["logits"]);
    assert!(graph["operators"].as_array().unwrap().iter().all(|operator| operator["supported"] == "yes"));
    assert_eq!(graph["head"]["pool"], "mean");

    let weights = json(&["crates/families/tests/data/checkpoints/old.pth"]);
    assert_eq!(weights["kind"], "13 tensors");
    assert!(weights["head"]["refused"].as_str().unwrap().contains("config.json"));
}

#[test]
fn people_get_tables() {
    let output = inspect(&["tests/tests/data/exports/dynamo.onnx"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in
        ["layer 1", "would train", "lora(rank = 8, alpha = 16)", "head: at \"layer_norm_4\", vectors of 16"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    for (model, says) in [
        ("nowhere/model.onnx", "does not exist"),
        ("crates/families/tests/data/checkpoints/evil-system.bin", "posix.system"),
        ("crates/families/tests/data/checkpoints", "config.json"),
    ] {
        let output = inspect(&[model]);
        assert!(!output.status.success());
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(says), "{message}");
    }
}
