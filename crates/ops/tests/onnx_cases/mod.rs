//! The standard's node tests as files, and how their results are compared.
//!
//! `REFIT_ONNX_NODE_TESTS` names a folder with the cases (older `onnx` wheels carry one); without it they
//! are written by `tests/reference/onnx_nodes.py`, with the first Python that has the `onnx` package:
//! `$REFIT_PYTHON`, `.venv/bin/python`, `python3`.

use bytes::Bytes;
use prost::Message;
use refit_graph::{DType, HostTensor, onnx};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tolerances of the standard's own runner.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-6;
/// Four units in the last place of float16, for chains of operators that round in between.
const RELATIVE_F16: f64 = 4e-3;
/// The same of bfloat16.
const RELATIVE_BF16: f64 = 3e-2;

/// The folders of all cases, by name; `None` where they cannot be had, which CI does not accept.
pub fn cases() -> Option<Vec<PathBuf>> {
    let folder = match folder() {
        Ok(folder) => folder,
        Err(why) => {
            let advice = "install the package (`cargo xtask setup`, or `pip install onnx==1.23.2`)";
            assert!(std::env::var_os("CI").is_none(), "the node tests of ONNX cannot run: {why}; {advice}");
            eprintln!("skipped: {why}; {advice}");
            return None;
        }
    };
    let entries = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    Some(cases)
}

/// The operator sets in which each operator was defined anew.
#[allow(dead_code, reason = "only one of the tests that share this file asks")]
pub fn versions() -> BTreeMap<String, Vec<i64>> {
    let text = folder().ok().and_then(|folder| std::fs::read_to_string(folder.join("versions.txt")).ok());
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.filter_map(|version| version.parse().ok()).collect()))
    };
    text.unwrap_or_default().lines().filter_map(line).collect()
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

/// A `TensorProto` file, read as the initializer of a model.
pub fn tensor(path: &Path) -> Result<HostTensor, String> {
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

/// Whether a result is what the case expects.
pub fn compare(got: &HostTensor, expected: &HostTensor) -> Result<(), String> {
    if (got.dtype(), got.shape()) != (expected.dtype(), expected.shape()) {
        return Err(format!(
            "{}{:?}, expected {}{:?}",
            got.dtype(),
            got.shape(),
            expected.dtype(),
            expected.shape()
        ));
    }
    let relative = match expected.dtype() {
        DType::F16 => RELATIVE_F16,
        DType::BF16 => RELATIVE_BF16,
        _ => RELATIVE,
    };
    match (got.to_f32(), expected.to_f32()) {
        (Some(got), Some(expected)) => {
            let close = |a: f32, b: f32| {
                let (a, b) = (f64::from(a), f64::from(b));
                a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= ABSOLUTE + relative * b.abs()
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
