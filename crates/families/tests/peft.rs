//! Adapters of the `peft` package (tests/reference/peft_adapters.py): read with equal logits, and written so that
//! they read back the same; that `peft` loads them with equal logits, the script shows.

use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_families::{Base, export_adapter, import_adapter, load, read_checkpoint};
use refit_graph::Model;
use refit_passes::{
    Driver,
    edit::{MergeLora, Pool},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn json_of(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn base() -> Base {
    load(&data("tiny-electra")).unwrap()
}

fn logits(model: &Model) -> Vec<Vec<f32>> {
    let reference = json_of(data("tiny-electra/expected.json"));
    let inputs: HashMap<String, Tensor> = ["input_ids", "attention_mask", "token_type_ids"]
        .into_iter()
        .map(|name| {
            let rows: Vec<Vec<i64>> = serde_json::from_value(reference[name].clone()).unwrap();
            (name.to_owned(), Tensor::new(rows, &Device::Cpu).unwrap())
        })
        .collect();
    let program = Program::compile(model, &["logits"], &Device::Cpu).unwrap();
    program.forward(&inputs, Mode::Eval).unwrap().output("logits").unwrap().to_vec2().unwrap()
}

#[track_caller]
fn close(found: &[Vec<f32>], wanted: &[Vec<f32>]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.concat().iter().zip(wanted.concat()) {
        assert!((found - wanted).abs() < 1e-5, "{found} instead of {wanted}");
    }
}

#[test]
fn an_adapter_of_peft_gives_the_logits_that_peft_gives() {
    let expected = json_of(data("peft-electra/expected.json"));
    for (pool, name) in [(Pool::Mean, "mean"), (Pool::Cls, "cls")] {
        let wanted: Vec<Vec<f32>> = serde_json::from_value(expected[name].clone()).unwrap();
        let mut model = import_adapter(&data("peft-electra"), &base(), pool).unwrap();
        close(&logits(&model), &wanted);
        Driver::new().edit(&mut model, &MergeLora).unwrap();
        close(&logits(&model), &wanted);
        assert!(model.graph.initializers().all(|(id, _)| !model.graph.value(id).name.contains("lora")));
    }
}

#[test]
fn what_is_written_is_what_peft_wrote() {
    let base = base();
    let model = import_adapter(&data("peft-electra"), &base, Pool::Mean).unwrap();
    let files = export_adapter(&model, &base.module_prefix, "hf:org/electra", 0.1).unwrap().unwrap();
    // Beside the build, where the script finds it.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peft-electra");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("adapter_config.json"), &files.config).unwrap();
    fs::write(folder.join("adapter_model.safetensors"), &files.weights).unwrap();
    let ours = read_checkpoint(&folder.join("adapter_model.safetensors")).unwrap();
    let theirs = read_checkpoint(&data("peft-electra/adapter_model.safetensors")).unwrap();
    assert_eq!(ours, theirs);
    let (ours, theirs) =
        (json_of(folder.join("adapter_config.json")), json_of(data("peft-electra/adapter_config.json")));
    for key in ["peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "bias"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    close(&logits(&import_adapter(&folder, &base, Pool::Mean).unwrap()), &logits(&model));
    assert!(export_adapter(&base.model, "", "", 0.0).unwrap().is_none());
}

#[test]
fn adapters_that_are_none_of_ours_are_refused() {
    let changes: [(&str, Value, &str); 6] = [
        ("peft_type", json!("IA3"), "is a IA3 adapter"),
        ("use_dora", json!(true), "uses DoRA"),
        ("bias", json!("all"), "trains biases"),
        ("rank_pattern", json!({"query": 4}), "ranks or alphas of their own"),
        ("r", json!(0), "of rank 0"),
        ("r", json!(3), "but the base takes [3, 16]"),
    ];
    for (key, value, says) in changes {
        let folder = TempDir::new().unwrap();
        let mut config = json_of(data("peft-electra/adapter_config.json"));
        config[key] = value;
        fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
        let weights = "adapter_model.safetensors";
        fs::copy(data("peft-electra").join(weights), folder.path().join(weights)).unwrap();
        let message = import_adapter(folder.path(), &base(), Pool::Mean).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    let other = load(&data("tiny-bert")).unwrap();
    let message = import_adapter(&data("peft-electra"), &other, Pool::Mean).unwrap_err().to_string();
    assert!(message.contains("no head"), "{message}");
}
