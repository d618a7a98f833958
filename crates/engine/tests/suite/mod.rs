//! What every engine must do, on the small models of `tests/reference/toy_classifier.py`. Each engine's tests include
//! this file and call [`run`].

use std::{path::Path, thread};

use refit_engine::{DataType, Engine, EngineError, ModelSource, Session, SessionOptions, Tensor};
use serde::Deserialize;

const FLOAT32: &[u8] = include_bytes!("../data/toy.float32.onnx");
const INT8: &[u8] = include_bytes!("../data/toy.int8.onnx");
const UNSUPPORTED: &[u8] = include_bytes!("../data/unsupported.onnx");

#[derive(Deserialize)]
struct Case {
    input_ids: Vec<i64>,
    float32: Expected,
    int8: Expected,
}

#[derive(Deserialize)]
struct Expected {
    logits: Vec<f32>,
    embedding: Vec<f32>,
}

/// Runs the whole suite.
pub fn run(engine: &dyn Engine) {
    answers_as_numpy_does(engine);
    neighbours_and_padding_change_nothing(engine);
    sessions_of_one_model_run_side_by_side(engine);
    ports_are_described(engine);
    wrong_inputs_are_refused_and_do_no_harm(engine);
    unusable_models_are_refused(engine);
    damaged_models_never_panic(engine);
    a_file_is_loaded_and_named_in_errors(engine);
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../data/toy.expected.json")).unwrap()
}

fn load(engine: &dyn Engine, model: &[u8]) -> Box<dyn Session> {
    engine.load(model.into(), &SessionOptions::default()).unwrap()
}

fn load_error(engine: &dyn Engine, model: ModelSource<'_>) -> EngineError {
    match engine.load(model, &SessionOptions::default()) {
        Ok(_) => panic!("{} loaded a model that it should refuse", engine.name()),
        Err(error) => error,
    }
}

/// Logits and embeddings of a batch, padded with id 0 to the longest.
fn answer(session: &mut dyn Session, batch: &[&[i64]]) -> (Vec<f32>, Vec<f32>) {
    let sequence = batch.iter().map(|ids| ids.len()).max().unwrap();
    let padded = |value: &dyn Fn(i64) -> i64, padding: i64| {
        let row = |ids: &&[i64]| {
            let mut row: Vec<i64> = ids.iter().map(|&id| value(id)).collect();
            row.resize(sequence, padding);
            row
        };
        Tensor::i64([batch.len(), sequence], batch.iter().flat_map(row).collect()).unwrap()
    };
    let (ids, mask, types) = (padded(&|id| id, 0), padded(&|_| 1, 0), padded(&|_| 0, 0));
    let inputs = [("token_type_ids", &types), ("input_ids", &ids), ("attention_mask", &mask)];
    let outputs = session.run(&inputs).unwrap();
    let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["logits", "embedding"]);
    assert_eq!(outputs[0].1.shape(), [batch.len(), 2]);
    assert_eq!(outputs[1].1.shape(), [batch.len(), 8]);
    (outputs[0].1.as_f32().unwrap().to_vec(), outputs[1].1.as_f32().unwrap().to_vec())
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= tolerance);
    assert!(close, "found {found:?}, expected {expected:?} within {tolerance}");
}

fn answers_as_numpy_does(engine: &dyn Engine) {
    let (mut float32, mut int8) = (load(engine, FLOAT32), load(engine, INT8));
    for case in cases() {
        for (session, expected) in [(&mut float32, &case.float32), (&mut int8, &case.int8)] {
            let (logits, embedding) = answer(session.as_mut(), &[&case.input_ids]);
            assert_close(&logits, &expected.logits, 2e-5);
            assert_close(&embedding, &expected.embedding, 2e-5);
        }
    }
}

fn neighbours_and_padding_change_nothing(engine: &dyn Engine) {
    let cases = cases();
    let batch: Vec<&[i64]> = cases.iter().map(|case| &case.input_ids[..]).collect();
    // The integer product is exact, but the pooling and the classifier after it add in float32.
    for model in [FLOAT32, INT8] {
        let mut session = load(engine, model);
        let together = answer(session.as_mut(), &batch).0;
        let alone: Vec<f32> = batch.iter().flat_map(|ids| answer(session.as_mut(), &[ids]).0).collect();
        assert_close(&together, &alone, 1e-6);
    }
}

fn sessions_of_one_model_run_side_by_side(engine: &dyn Engine) {
    let first = load(engine, FLOAT32);
    let sessions: Vec<Box<dyn Session>> = (0..4).map(|_| first.fork().unwrap()).collect();
    let model = first.model();
    drop(first);
    let cases = cases();
    thread::scope(|scope| {
        for mut session in sessions.into_iter().chain([model.session().unwrap()]) {
            let cases = &cases;
            scope.spawn(move || {
                for case in cases.iter().cycle().take(60) {
                    assert_close(&answer(session.as_mut(), &[&case.input_ids]).0, &case.float32.logits, 2e-5);
                }
            });
        }
    });
}

fn ports_are_described(engine: &dyn Engine) {
    let session = load(engine, FLOAT32);
    let inputs: Vec<&str> = session.inputs().iter().map(|port| port.name.as_str()).collect();
    assert_eq!(inputs, ["input_ids", "attention_mask", "token_type_ids"]);
    assert!(
        session.inputs().iter().all(|port| port.dtype == Some(DataType::I64) && port.shape == [None, None])
    );
    assert_eq!(session.outputs()[0].shape, [None, Some(2)]);
    assert_eq!(session.outputs()[1].dtype, Some(DataType::F32));
}

fn wrong_inputs_are_refused_and_do_no_harm(engine: &dyn Engine) {
    let mut session = load(engine, FLOAT32);
    let ids = |shape: Vec<usize>, id: i64| {
        let count = shape.iter().product();
        Tensor::i64(shape, vec![id; count]).unwrap()
    };
    let (right, other) = (ids(vec![1, 4], 1), ids(vec![1, 5], 1));
    let real = Tensor::f32([1, 4], vec![1.0; 4]).unwrap();
    let mut refused = |input_ids: &Tensor, types_name: &str| {
        let inputs = [("input_ids", input_ids), ("attention_mask", &right), (types_name, &right)];
        session.run(&inputs).unwrap_err()
    };
    assert!(matches!(refused(&right, "types"), EngineError::Inputs { .. }));
    assert!(matches!(refused(&real, "token_type_ids"), EngineError::InputType { .. }));
    assert!(matches!(refused(&ids(vec![4], 1), "token_type_ids"), EngineError::InputType { .. }));
    // These are found only inside: lengths that do not fit together, and an id outside the vocabulary.
    assert!(matches!(refused(&other, "token_type_ids"), EngineError::Run { .. }));
    assert!(matches!(refused(&ids(vec![1, 4], 99), "token_type_ids"), EngineError::Run { .. }));

    let case = &cases()[0];
    assert_close(&answer(session.as_mut(), &[&case.input_ids]).0, &case.float32.logits, 2e-5);
}

fn unusable_models_are_refused(engine: &dyn Engine) {
    let message = load_error(engine, UNSUPPORTED.into()).to_string();
    assert!(message.contains("Frobnicate"), "the operator is not named: {message}");
    assert!(!message.contains('\n'), "{message}");
    for nonsense in [&b""[..], b"this is no model", &[0xff; 64]] {
        assert!(matches!(load_error(engine, nonsense.into()), EngineError::Load { path: None, .. }));
    }
}

/// Cut off and with bits flipped: whatever comes of it, it is an answer or an error.
fn damaged_models_never_panic(engine: &dyn Engine) {
    let try_it = |model: &[u8]| {
        if let Ok(mut session) = engine.load(model.into(), &SessionOptions::default()) {
            let ids = Tensor::i64([1, 4], vec![1; 4]).unwrap();
            let _ = session.run(&[("input_ids", &ids), ("attention_mask", &ids), ("token_type_ids", &ids)]);
        }
    };
    for length in (0..FLOAT32.len()).step_by(41) {
        try_it(&FLOAT32[..length]);
    }
    for place in (0..FLOAT32.len()).step_by(53) {
        let mut model = FLOAT32.to_vec();
        model[place] ^= 0x55;
        try_it(&model);
    }
}

fn a_file_is_loaded_and_named_in_errors(engine: &dyn Engine) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/data");
    let path = data.join("toy.float32.onnx");
    let mut session = engine.load(path.as_path().into(), &SessionOptions::default()).unwrap();
    let case = &cases()[0];
    assert_close(&answer(session.as_mut(), &[&case.input_ids]).0, &case.float32.logits, 2e-5);

    let missing = data.join("missing.onnx");
    let message = load_error(engine, missing.as_path().into()).to_string();
    assert!(message.contains("missing.onnx"), "{message}");
}
