//! A small random model of each family as the file that is served: tract gives what our own executor gives.

use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_engine::{Engine, ModelSource, Session, SessionOptions};
use refit_engine_tract::Tract;
use refit_families::{HIDDEN_STATE, copy_parameters, load, read_exported};
use refit_graph::{HostTensor, Model, onnx};
use refit_passes::{
    Driver,
    edit::{Pool, ReplaceHead, parameters},
    lower::portable,
};
use std::collections::HashMap;

/// Families and the ids that they pad with.
const FAMILIES: [(&str, i64); 8] = [
    ("bert", 0),
    ("deberta-v2", 0),
    ("deberta-v3", 0),
    ("distilbert", 0),
    ("electra", 0),
    ("modernbert", 0),
    ("mpnet", 1),
    ("roberta", 1),
];

const TEXTS: [&[i64]; 3] =
    [&[2, 5, 9, 7, 7, 30, 12, 39, 4, 3, 21, 6, 17, 8, 3], &[2, 38, 37, 36, 35, 34, 33, 3], &[2, 3]];

/// The encoder with a head: `logits` and `embedding` `[batch, hidden]`.
fn classifier(family: &str) -> Model {
    let folder = refit_tests::root().join("crates/families/tests/data").join(format!("tiny-{family}"));
    let mut model = load(&folder).unwrap().model;
    let at = HIDDEN_STATE.to_owned();
    let head = ReplaceHead { at, pool: Pool::Mean, labels: 3, dropout: 0.1, carried: Vec::new(), seed: 7 };
    Driver::new().edit(&mut model, &head).unwrap();
    model
}

/// Texts padded to `length`, under the names of the inputs.
fn padded(texts: &[&[i64]], length: usize, padding: i64) -> [(&'static str, Vec<i64>); 3] {
    let fill = |with: i64, of: &dyn Fn(i64) -> i64| -> Vec<i64> {
        texts
            .iter()
            .flat_map(|row| row.iter().map(|id| of(*id)).chain(std::iter::repeat_n(with, length - row.len())))
            .collect()
    };
    [
        ("input_ids", fill(padding, &|id| id)),
        ("attention_mask", fill(0, &|_| 1)),
        ("token_type_ids", fill(0, &|id| id % 2)),
    ]
}

fn by_executor(model: &Model, texts: &[&[i64]], length: usize, padding: i64) -> Vec<f32> {
    let names: Vec<&str> =
        model.graph.inputs().iter().map(|id| model.graph.value(*id).name.as_str()).collect();
    let inputs: HashMap<String, Tensor> = padded(texts, length, padding)
        .into_iter()
        .filter(|(name, _)| names.contains(name))
        .map(|(name, ids)| {
            (name.to_owned(), Tensor::from_vec(ids, (texts.len(), length), &Device::Cpu).unwrap())
        })
        .collect();
    let program = Program::compile(model, &["embedding"], &Device::Cpu).unwrap();
    let activations = program.forward(&inputs, Mode::Eval).unwrap();
    activations.output("embedding").unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn by_session(session: &mut dyn Session, texts: &[&[i64]], length: usize, padding: i64) -> Vec<f32> {
    let names: Vec<String> = session.inputs().iter().map(|port| port.name.clone()).collect();
    let tensors: Vec<(&str, refit_engine::Tensor)> = padded(texts, length, padding)
        .into_iter()
        .filter(|(name, _)| names.iter().any(|known| known == name))
        .map(|(name, ids)| (name, refit_engine::Tensor::i64([texts.len(), length], ids).unwrap()))
        .collect();
    let given: Vec<(&str, &refit_engine::Tensor)> = tensors.iter().map(|(name, t)| (*name, t)).collect();
    let outputs = session.run(&given).unwrap();
    let (_, embedding) = outputs.iter().find(|(name, _)| name == "embedding").unwrap();
    embedding.as_f32().unwrap().to_vec()
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn an_exported_model_gives_its_weights_back() {
    for (family, _) in FAMILIES {
        let model = classifier(family);
        let bytes = onnx::write(&portable(&model).unwrap()).unwrap();
        let exported = read_exported(bytes.into()).unwrap();
        let mut fresh = model.clone();
        for id in parameters(&model.graph) {
            let shape = model.graph.initializer(id).unwrap().tensor.shape().to_vec();
            let zeros = HostTensor::from_f32(&shape, &vec![0.0; shape.iter().product()]);
            fresh.graph.set_initializer(id, zeros).unwrap();
        }
        let copied = copy_parameters(&exported, &mut fresh).unwrap();
        assert_eq!(copied.len(), parameters(&model.graph).len(), "{family}");
        assert!(fresh == model, "{family}");
    }
}

#[test]
fn the_file_that_is_served_computes_what_was_trained() {
    served_computes_what_was_trained(&Tract);
}

#[test]
#[ignore = "fetches ONNX Runtime: cargo xtask test"]
fn the_file_that_is_served_computes_what_was_trained_in_onnx_runtime_too() {
    let library = refit_engine_ort::install(&refit_trainer::data::default_cache()).unwrap();
    served_computes_what_was_trained(&refit_engine_ort::OnnxRuntime::from_library(&library).unwrap());
}

fn served_computes_what_was_trained(engine: &dyn Engine) {
    for (family, padding) in FAMILIES {
        let model = classifier(family);
        let bytes = onnx::write(&portable(&model).unwrap()).unwrap();
        let mut session = engine.load(ModelSource::Bytes(&bytes), &SessionOptions { threads: 1 }).unwrap();
        for length in [15, 18] {
            let ours = by_executor(&model, &TEXTS, length, padding);
            let theirs = by_session(session.as_mut(), &TEXTS, length, padding);
            let difference = max_difference(&ours, &theirs);
            assert!(difference < 1e-5, "{family}, padded to {length}: they differ by {difference}");
            for (text, together) in TEXTS.iter().zip(theirs.chunks(theirs.len() / TEXTS.len())) {
                let alone = by_session(session.as_mut(), &[text], text.len(), padding);
                let difference = max_difference(&alone, together);
                assert!(difference < 1e-5, "{family}: alone and in a batch differ by {difference}");
            }
        }
    }
}
