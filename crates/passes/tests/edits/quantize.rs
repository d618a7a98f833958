use super::*;
use refit_engine::{Engine, ModelSource, Session, SessionOptions};
use refit_engine_tract::Tract;
use refit_graph::onnx;
use refit_passes::{
    edit::{QuantizeInt8Rows, RowsForm},
    lower::{describe_ports, portable},
};

fn quantized() -> Model {
    let mut model = portable(&classifier()).unwrap();
    edit(&mut model, &QuantizeInt8Rows::default()).unwrap();
    model
}

fn session(model: &Model) -> Box<dyn Session> {
    let bytes = onnx::write(model).unwrap();
    Tract.load(ModelSource::Bytes(&bytes), &SessionOptions { threads: 1 }).unwrap()
}

/// The embeddings of rows of tokens in tract, row by row.
fn embeddings(session: &mut dyn Session, rows: &[&[i64]]) -> Vec<Vec<f32>> {
    let tensors: Vec<(String, refit_engine::Tensor)> = inputs(rows)
        .into_iter()
        .map(|(name, tensor)| {
            let values = tensor.flatten_all().unwrap().to_vec1().unwrap();
            (name, refit_engine::Tensor::i64(tensor.dims(), values).unwrap())
        })
        .collect();
    let given: Vec<(&str, &refit_engine::Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let outputs = session.run(&given).unwrap();
    let embedding = outputs.iter().find(|(name, _)| name == "embedding").unwrap();
    embedding.1.as_f32().unwrap().chunks(32).map(<[f32]>::to_vec).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn every_large_product_is_int8_and_its_activation_is_quantized_once() {
    let model = quantized();
    let count = |op: &str| model.graph.nodes().filter(|(_, node)| node.op.is(op)).count();
    // A layer has six products; query, key and value read the same activation.
    assert_eq!((count("MatMulInteger"), count("QuantizeLinear")), (2 * 6, 2 * 4));
    assert!(model.graph.nodes().all(|(_, node)| node.op.domain.is_empty()));
    let small = model.graph.find("classifier.weight").and_then(|id| model.graph.initializer(id));
    assert!(small.is_some_and(|weight| weight.tensor.dtype().is_float()), "the head stays in float32");
}

#[test]
fn int8_stays_close_to_float32_in_tract() {
    let (mut float, mut int8) = (session(&portable(&classifier()).unwrap()), session(&quantized()));
    let (float, int8) = (embeddings(float.as_mut(), &ROWS), embeddings(int8.as_mut(), &ROWS));
    for (float, int8) in float.iter().zip(&int8) {
        let cosine = cosine(float, int8);
        assert!(cosine > 0.995, "{cosine}");
    }
    assert_ne!(float, int8);
}

#[test]
fn an_answer_does_not_depend_on_its_batch_in_tract() {
    let mut session = session(&quantized());
    let together = embeddings(session.as_mut(), &ROWS);
    for (row, together) in ROWS.iter().zip(&together) {
        let alone = &embeddings(session.as_mut(), &[row])[0];
        let difference = alone.iter().zip(together).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn only_lowered_models_are_quantized() {
    let message = refusal(&classifier(), &QuantizeInt8Rows::default());
    assert!(message.contains("int8 is for lowered models"), "{message}");
}

#[test]
fn a_file_says_what_its_outputs_are_whatever_operators_it_has() {
    let lowered = portable(&classifier()).unwrap();
    let mut int8 = lowered.clone();
    edit(&mut int8, &QuantizeInt8Rows { form: RowsForm::OnnxRuntime, ..Default::default() }).unwrap();
    let fact = |model: &Model, name: &str| model.graph.fact(model.graph.find(name).unwrap()).clone();
    assert!(fact(&int8, "logits").shape.is_none(), "nobody here knows what another's operator makes");
    describe_ports(&mut int8, &lowered);
    for output in ["logits", "embedding"] {
        assert_eq!(fact(&int8, output), fact(&lowered, output));
        assert!(fact(&int8, output).shape.is_some());
    }
}
