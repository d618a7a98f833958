//! ONNX Runtime against what every engine must do, and what happens when its library is not what it should be.
//!
//! The library is the one that `find_library` finds. Without one these tests say that they are skipped, unless
//! `REFIT_REQUIRE_ORT=1` makes that a failure.

#[path = "../../engine/tests/suite/mod.rs"]
mod suite;

use std::{env, fs, path::PathBuf};

use prost::Message;
use refit_engine::{Device, Engine, EngineError, SessionOptions, Tensor};
use refit_engine_ort::{NoCuda, OnnxRuntime, find_library};
use refit_graph::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};

fn cache() -> PathBuf {
    let cache = env::var_os("REFIT_CACHE").map(PathBuf::from);
    cache.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/refit"))
}

fn library() -> Option<PathBuf> {
    match find_library(None, &cache()) {
        Ok(library) => Some(library.path),
        Err(reason) if env::var_os("REFIT_REQUIRE_ORT").is_some_and(|value| value == "1") => {
            panic!("{reason}")
        }
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// One test, because a process can load only one library, and the wrong ones have to come first.
#[test]
fn onnxruntime_does_what_an_engine_must_do() {
    let folder = tempfile::tempdir().unwrap();
    let no_library = folder.path().join("libonnxruntime.so");
    fs::write(&no_library, b"not a library").unwrap();
    let unavailable = |path: &std::path::Path| match OnnxRuntime::from_library(path) {
        Err(error @ EngineError::Unavailable { .. }) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("{} was loaded", path.display()),
    };
    let message = unavailable(&no_library);
    assert!(message.contains("refit engine install onnxruntime"), "{message}");
    let message = unavailable(&folder.path().join("missing.so"));
    assert!(message.contains("missing.so cannot be read"), "{message}");

    let Some(path) = library() else { return };
    // Another library of the same wheel: it loads, but is not ONNX Runtime.
    let providers = path.with_file_name("libonnxruntime_providers_shared.so");
    if providers.exists() {
        let message = unavailable(&providers);
        assert!(message.contains("OrtGetApiBase"), "{message}");
    }

    let engine = OnnxRuntime::from_library(&path).unwrap();
    assert!(engine.version().starts_with("1."), "{}", engine.version());
    suite::run(&engine);
    sessions_share_large_weights(&engine);
    a_gpu_computes_or_the_reason_is_said(&engine);

    let again = OnnxRuntime::from_library(&path).unwrap();
    assert_eq!(again.library(), engine.library());
    let copy = folder.path().join("libonnxruntime.so.1.31.1");
    fs::copy(&path, &copy).unwrap();
    let message = unavailable(&copy);
    assert!(message.contains("already uses"), "{message}");
}

const INPUTS: usize = 128;
const OUTPUTS: usize = 256;

/// `y = x W`, whose weights are large enough to be shared. The weight at (row, column) is `row - column`.
fn large_model() -> Vec<u8> {
    const FLOAT: i32 = 1;
    let weights = (0..INPUTS).flat_map(|row| (0..OUTPUTS).map(move |column| row as f32 - column as f32));
    let port = |name: &str| {
        let tensor_type = Some(TensorTypeProto { elem_type: Some(FLOAT), ..Default::default() });
        let r#type = Some(Box::new(TypeProto { tensor_type, ..Default::default() }));
        ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
    };
    let graph = GraphProto {
        name: Some("large".into()),
        node: vec![NodeProto {
            op_type: Some("MatMul".into()),
            input: vec!["x".into(), "w".into()],
            output: vec!["y".into()],
            ..Default::default()
        }],
        initializer: vec![TensorProto {
            name: Some("w".into()),
            dims: vec![INPUTS as i64, OUTPUTS as i64],
            data_type: Some(FLOAT),
            raw_data: Some(weights.flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into()),
            ..Default::default()
        }],
        input: vec![port("x")],
        output: vec![port("y")],
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { version: Some(17), ..Default::default() }],
        graph: Some(Box::new(graph)),
        ..Default::default()
    };
    model.encode_to_vec()
}

/// The weights outlive the session that they were loaded with.
fn sessions_share_large_weights(engine: &OnnxRuntime) {
    let model = large_model();
    let first = engine.load(model.as_slice().into(), &SessionOptions::default()).unwrap();
    let mut others = [first.fork().unwrap(), first.fork().unwrap()];
    drop((model, first));
    let x = Tensor::f32([1, INPUTS], vec![1.0; INPUTS]).unwrap();
    // The sum of the rows 0 to 127, less the column for each.
    let expected: Vec<f32> = (0..OUTPUTS).map(|column| 8128.0 - (INPUTS * column) as f32).collect();
    for session in &mut others {
        let outputs = session.run(&[("x", &x)]);
        assert_eq!(outputs.unwrap()[0].1.as_f32(), Some(&expected[..]));
    }
    let [mut second, third] = others;
    drop(third);
    assert_eq!(second.run(&[("x", &x)]).unwrap()[0].1.as_f32(), Some(&expected[..]));
}

/// What a library without CUDA, or a machine without a GPU, is answered with; where there are both, the same answers.
fn a_gpu_computes_or_the_reason_is_said(engine: &OnnxRuntime) {
    assert_eq!(engine.device(), Device::Cpu);
    let library = engine.library().display().to_string();
    match engine.on_cuda() {
        Ok(on_gpu) => {
            assert_eq!(on_gpu.device(), Device::Cuda);
            suite::run(&on_gpu);
            sessions_share_large_weights(&on_gpu);
            let session = on_gpu.load(large_model().as_slice().into(), &SessionOptions::default()).unwrap();
            assert!(session.model().wide_session(2).unwrap().is_none());
        }
        Err(reason @ NoCuda::NotBuilt { .. }) => assert_eq!(
            reason.to_string(),
            format!(
                "{library} is built without CUDA: run `refit engine install onnxruntime --device cuda`, or let \
                 `serve.onnxruntime` name the library of the wheel onnxruntime-gpu"
            )
        ),
        Err(reason @ NoCuda::NoGpu { .. }) => {
            let sentence = reason.to_string();
            eprintln!("{sentence}");
            let start = format!("{library} is built with CUDA and finds no GPU to use (");
            assert!(sentence.starts_with(&start) && sentence.lines().count() == 1, "{sentence}");
        }
    }
}
