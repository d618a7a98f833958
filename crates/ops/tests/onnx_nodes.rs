//! The standard's own node tests, for every operator that is implemented.
//!
//! `REFIT_ONNX_NODE_TESTS` names a folder with the cases (older `onnx` wheels carry one); without it they
//! are written by `tests/reference/onnx_nodes.py`, with the first Python that has the `onnx` package:
//! `$REFIT_PYTHON`, `.venv/bin/python`, `python3`.

use bytes::Bytes;
use prost::Message;
use refit_graph::{HostTensor, Model, ValueId, onnx};
use refit_ops::{evaluate, find, opset_of};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tolerances of the standard's own runner.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-6;

/// Cases of implemented operators that may fail: a part of the name, and why.
const SKIPPED: &[(&str, &str)] = &[
    ("FLOAT8", "8-bit floats are carried through files, not computed with"),
    ("FLOAT4E2M1", "4-bit floats are carried through files, not computed with"),
    ("INT4", "4-bit integers are carried through files, not computed with"),
    ("INT2", "2-bit integers are carried through files, not computed with"),
    ("test_equal_string", "strings never reach a tensor: text is tokenized before the model"),
    ("test_identity_opt", "optional values are no tensors"),
    ("test_identity_sequence", "sequences are no tensors"),
    ("test_training_dropout", "the mask comes from the seed of the run, not from NumPy's generator"),
];

#[test]
fn the_standards_node_tests() {
    let folder = match folder() {
        Ok(folder) => folder,
        Err(why) => {
            let advice = "install the package (`cargo xtask setup`, or `pip install onnx==1.23.2`)";
            assert!(std::env::var_os("CI").is_none(), "the node tests of ONNX cannot run: {why}; {advice}");
            eprintln!("skipped: {why}; {advice}");
            return;
        }
    };
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    cases.sort();
    let (mut passed, mut failures) = (0, Vec::new());
    let mut used = vec![false; SKIPPED.len()];
    let mut by_operator: BTreeMap<String, usize> = BTreeMap::new();
    for case in &cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(model) = supported(case) else { continue };
        match run(case, &model) {
            Ok(()) => {
                passed += 1;
                for (_, node) in model.graph.nodes() {
                    *by_operator.entry(node.op.to_string()).or_default() += 1;
                }
            }
            Err(why) => match SKIPPED.iter().position(|(part, _)| name.contains(part)) {
                Some(index) => used[index] = true,
                None => failures.push(format!("{name}: {why}")),
            },
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    let unused: Vec<&str> = SKIPPED.iter().zip(&used).filter(|(_, used)| !**used).map(|(s, _)| s.0).collect();
    assert!(unused.is_empty(), "no case that fails needs these entries any more: {unused:?}");
    assert!(passed >= 1000, "only {passed} of {} cases ran", cases.len());
    println!("{passed} cases pass; nodes by operator: {by_operator:?}");
}

fn folder() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("REFIT_ONNX_NODE_TESTS") {
        return Ok(folder.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx_nodes");
    let pythons = std::env::var_os("REFIT_PYTHON")
        .map(PathBuf::from)
        .into_iter()
        .chain([root.join(".venv/bin/python"), PathBuf::from("python3")]);
    let mut why = String::new();
    for python in pythons {
        let script = root.join("tests/reference/onnx_nodes.py");
        match Command::new(&python).arg(&script).arg(&folder).output() {
            Ok(output) if output.status.success() => return Ok(folder),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                why = format!("{}: {}", python.display(), text.lines().last().unwrap_or_default());
            }
            Err(error) => why = format!("{}: {error}", python.display()),
        }
    }
    Err(why)
}

/// The model of a case, if every operator in it is implemented.
fn supported(case: &Path) -> Option<Model> {
    let bytes = std::fs::read(case.join("model.onnx")).ok()?;
    let model = onnx::read(bytes.into(), &onnx::NoExternalData).ok()?;
    let known = |name: &refit_graph::OpName| find(name, opset_of(&model, &name.domain)).is_some();
    let all_known = model.graph.nodes().all(|(_, node)| known(&node.op));
    all_known.then_some(model)
}

fn run(case: &Path, model: &Model) -> Result<(), String> {
    for number in 0.. {
        let data = case.join(format!("test_data_set_{number}"));
        if !data.is_dir() {
            break;
        }
        let mut values: HashMap<ValueId, HostTensor> = HashMap::new();
        for (id, initializer) in model.graph.initializers() {
            values.insert(id, initializer.tensor.clone());
        }
        for (index, id) in model.graph.inputs().iter().enumerate() {
            values.insert(*id, tensor(&data.join(format!("input_{index}.pb")))?);
        }
        for (_, node) in model.graph.nodes() {
            let inputs: Vec<Option<HostTensor>> =
                node.inputs.iter().map(|id| id.and_then(|id| values.get(&id).cloned())).collect();
            let outputs = evaluate(node, opset_of(model, &node.op.domain), &inputs)
                .map_err(|error| format!("{error}: {error:?}"))?;
            for (id, output) in node.outputs.iter().zip(outputs) {
                if let Some(id) = id {
                    values.insert(*id, output);
                }
            }
        }
        for (index, id) in model.graph.outputs().iter().enumerate() {
            let expected = tensor(&data.join(format!("output_{index}.pb")))?;
            let got = values.get(id).ok_or_else(|| format!("output {index} is missing"))?;
            compare(got, &expected).map_err(|why| format!("output {index}: {why}"))?;
        }
    }
    Ok(())
}

/// A `TensorProto` file, read as the initializer of a model.
fn tensor(path: &Path) -> Result<HostTensor, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut proto =
        onnx::proto::TensorProto::decode(Bytes::from(bytes)).map_err(|e| format!("no tensor: {e}"))?;
    proto.name = Some("tensor".to_owned());
    let graph = onnx::proto::GraphProto { initializer: vec![proto], ..Default::default() };
    let model = onnx::proto::ModelProto { graph: Some(Box::new(graph)), ..Default::default() };
    let model = onnx::read(model.encode_to_vec().into(), &onnx::NoExternalData).map_err(|e| e.to_string())?;
    let (_, initializer) = model.graph.initializers().next().ok_or("no tensor")?;
    Ok(initializer.tensor.clone())
}

fn compare(got: &HostTensor, expected: &HostTensor) -> Result<(), String> {
    if (got.dtype(), got.shape()) != (expected.dtype(), expected.shape()) {
        return Err(format!(
            "{}{:?}, expected {}{:?}",
            got.dtype(),
            got.shape(),
            expected.dtype(),
            expected.shape()
        ));
    }
    match (got.to_f32(), expected.to_f32()) {
        (Some(got), Some(expected)) => {
            let close = |a: f32, b: f32| {
                let (a, b) = (f64::from(a), f64::from(b));
                a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= ABSOLUTE + RELATIVE * b.abs()
            };
            match got.iter().zip(&expected).position(|(a, b)| !close(*a, *b)) {
                Some(i) => Err(format!("element {i} is {}, expected {}", got[i], expected[i])),
                None => Ok(()),
            }
        }
        _ if got.bytes() == expected.bytes() => Ok(()),
        _ => Err(format!("{:?}, expected {:?}", got.to_i64(), expected.to_i64())),
    }
}
