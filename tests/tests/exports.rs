//! One small encoder as several exporters write it (tests/reference/exports.py): every file becomes a base that
//! computes what `transformers` did, trains all of it, and is served alike.

use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_engine::{Engine, ModelSource, SessionOptions};
use refit_engine_tract::Tract;
use refit_families::{Base, HIDDEN_STATE, Pooling, load, load_at};
use refit_graph::{Model, onnx};
use refit_passes::{
    Driver,
    edit::{Freeze, FreezePolicy, Lora, Pool, ReplaceHead, layer_of},
    lower::portable,
};
use serde_json::Value;
use std::{collections::HashMap, error::Error, path::PathBuf};

const FILES: [&str; 6] = [
    "classifier.onnx",
    "dynamo-external.onnx",
    "dynamo.onnx",
    "fixed-opset11.onnx",
    "optimum.onnx",
    "tf2onnx.onnx",
];

fn export(file: &str) -> PathBuf {
    refit_tests::root().join("tests/tests/data/exports").join(file)
}

fn reference() -> Value {
    let path = refit_tests::root().join("crates/families/tests/data/tiny-electra/expected.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn message(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", message(source)),
        None => error.to_string(),
    }
}

fn base(file: &str) -> Base {
    load(&export(file)).unwrap_or_else(|error| panic!("{file}: {}", message(&error)))
}

/// The reference's inputs, or the first `texts` of them cut to `length` tokens.
fn inputs(model: &Model, texts: usize, length: usize) -> Vec<(String, [usize; 2], Vec<i64>)> {
    let reference = reference();
    let names = model.graph.inputs().iter().map(|id| model.graph.value(*id).name.clone());
    names
        .map(|name| {
            let rows: Vec<Vec<i64>> = serde_json::from_value(reference[&name].clone()).unwrap();
            let values: Vec<i64> =
                rows[..texts].iter().flat_map(|row| row[..length].iter().copied()).collect();
            (name, [texts, length], values)
        })
        .collect()
}

fn by_executor(model: &Model, output: &str, given: &[(String, [usize; 2], Vec<i64>)]) -> Vec<f32> {
    let program = Program::compile(model, &[output], &Device::Cpu).unwrap();
    let tensors: HashMap<String, Tensor> = given
        .iter()
        .map(|(name, shape, values)| {
            (name.clone(), Tensor::from_slice(values, (shape[0], shape[1]), &Device::Cpu).unwrap())
        })
        .collect();
    let activations = program.forward(&tensors, Mode::Eval).unwrap();
    activations.output(output).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_export_computes_what_transformers_did() {
    let reference = reference();
    let hidden: Vec<Vec<Vec<f32>>> = serde_json::from_value(reference["hidden"].clone()).unwrap();
    let masks: Vec<Vec<i64>> = serde_json::from_value(reference["attention_mask"].clone()).unwrap();
    for file in FILES {
        let base = base(file);
        assert_eq!((base.hidden_size, base.num_layers, base.pooling), (16, 2, Pooling::Mean), "{file}");
        let found = by_executor(&base.model, HIDDEN_STATE, &inputs(&base.model, 3, 15));
        for (text, (rows, mask)) in hidden.iter().zip(&masks).enumerate() {
            for (token, row) in rows.iter().enumerate().filter(|(token, _)| mask[*token] == 1) {
                let at = (text * 15 + token) * 16;
                let difference = max_difference(&found[at..at + 16], row);
                assert!(difference < 2e-5, "{file}: text {text}, token {token} differ by {difference}");
            }
        }
        // One text, shorter than any export's example, alone.
        let short = by_executor(&base.model, HIDDEN_STATE, &inputs(&base.model, 2, 8));
        let second: Vec<f32> = short[8 * 16..].to_vec();
        let difference = max_difference(&second, &found[15 * 16..][..8 * 16]);
        assert!(difference < 2e-5, "{file}: another length differs by {difference}");
    }
}

fn with_head(base: &Base, pool: Pool) -> Model {
    let mut model = base.model.clone();
    let at = HIDDEN_STATE.to_owned();
    let head = ReplaceHead { at, pool, labels: 3, dropout: 0.0, carried: Vec::new(), seed: 7 };
    Driver::new().edit(&mut model, &head).unwrap();
    model
}

#[test]
fn every_export_is_served_as_it_is_trained() {
    for file in FILES {
        for pool in [Pool::Mean, Pool::Max, Pool::Cls] {
            let model = with_head(&base(file), pool);
            let bytes = onnx::write(&portable(&model).unwrap()).unwrap();
            let mut session = Tract.load(ModelSource::Bytes(&bytes), &SessionOptions { threads: 1 }).unwrap();
            for (texts, length) in [(3, 15), (1, 8)] {
                let given = inputs(&model, texts, length);
                let ours = by_executor(&model, "logits", &given);
                let tensors: Vec<(&str, refit_engine::Tensor)> = given
                    .iter()
                    .map(|(name, shape, values)| {
                        (name.as_str(), refit_engine::Tensor::i64(*shape, values.clone()).unwrap())
                    })
                    .collect();
                let named: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
                let outputs = session.run(&named).unwrap();
                let (_, theirs) = outputs.iter().find(|(name, _)| name == "logits").unwrap();
                let difference = max_difference(&ours, theirs.as_f32().unwrap());
                assert!(difference < 2e-5, "{file}, {pool}: they differ by {difference}");
            }
        }
    }
}

#[test]
fn every_method_finds_its_layers_in_every_export() {
    for file in FILES {
        let base = base(file);
        let trainable = |model: &Model| -> Vec<String> {
            let all = model.graph.initializers().filter(|(_, initializer)| initializer.trainable);
            all.map(|(id, _)| model.graph.value(id).name.clone()).collect()
        };
        let all = trainable(&base.model);
        let of_layer = |layer| all.iter().filter(|name| layer_of(name) == Some(layer)).count();
        assert_eq!((of_layer(0), of_layer(1)), (16, 16), "{file}: {all:?}");

        let mut last = with_head(&base, Pool::Mean);
        Driver::new().edit(&mut last, &Freeze { train: FreezePolicy::LastLayers(1) }).unwrap();
        assert_eq!(trainable(&last).len(), 16 + 2, "{file}");
        let mut lora = with_head(&base, Pool::Mean);
        let adapters = Lora { rank: 2, alpha: 4.0, targets: Vec::new(), dropout: 0.0, seed: 3 };
        Driver::new()
            .edit(&mut lora, &adapters)
            .unwrap_or_else(|error| panic!("{file}: {}", message(&error)));
        assert_eq!(trainable(&lora).len(), 2 * 2 * 2 + 2, "{file}");
    }
}

#[test]
fn a_head_goes_where_it_is_told_to() {
    // The classifier's own first token, and its dense layer: one vector a text.
    let path = export("classifier.onnx");
    let graph = onnx::read(std::fs::read(&path).unwrap().into(), &onnx::NoExternalData).unwrap().graph;
    let gemm = graph.nodes().find(|(_, node)| node.op.is("Gemm")).unwrap().1;
    let dense = graph.value(gemm.output(0).unwrap()).name.clone();
    let base = load_at(&path, Some(&dense)).unwrap();
    assert_eq!((base.pooling, base.hidden_size, base.cut.as_str()), (Pooling::None, 16, dense.as_str()));
    let model = with_head(&base, Pool::None);
    let given = inputs(&model, 3, 15);
    assert_eq!(by_executor(&model, "embedding", &given), by_executor(&base.model, HIDDEN_STATE, &given));

    for (at, says) in
        [("nothing", "no value \"nothing\""), ("attention_mask", "but \"attention_mask\" is i64")]
    {
        let error = load_at(&path, Some(at)).unwrap_err();
        assert!(message(&error).contains(says), "{}", message(&error));
    }
}

#[test]
fn external_weights_stay_in_their_folder() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("dynamo-external.onnx");
    std::fs::copy(export("dynamo-external.onnx"), &file).unwrap();
    assert!(message(&load(&file).unwrap_err()).contains("cannot be read"));
    let data = std::fs::read(export("dynamo-external.onnx.data")).unwrap();
    let beside = folder.path().join("dynamo-external.onnx.data");
    std::fs::write(&beside, &data[..data.len() / 2]).unwrap();
    assert!(message(&load(&file).unwrap_err()).contains("truncated"));
    // A link that leads out is followed only to be refused.
    std::fs::remove_file(&beside).unwrap();
    std::os::unix::fs::symlink(export("dynamo-external.onnx.data"), &beside).unwrap();
    assert!(message(&load(&file).unwrap_err()).contains("outside of the model's folder"));
}
