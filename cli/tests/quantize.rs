//! Which form is served, by measurement, on a real model that int8 hurts.

mod support;

use refit_artifact::{Bundle, Candidate, EngineSearch, Precision};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use support::{FOLDER, fetched, json, newsgroups, write_csv, write_topics_spec};

/// Layers whose values get an outlier.
const HURT: [usize; 6] = [0, 1, 2, 3, 4, 5];
/// How large it is.
const FACTOR: f32 = 20_000.0;
/// Which channels have it, one in each of some heads.
const CHANNELS: [usize; 3] = [5, 101, 300];

/// A safetensors file in memory: the places of its float32 tensors, and its bytes.
struct Weights {
    bytes: Vec<u8>,
    data: usize,
    tensors: BTreeMap<String, Value>,
}

impl Weights {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("the weights");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let tensors = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        Self { bytes, data: 8 + length, tensors }
    }

    /// Multiplies the elements of a tensor by what `factor` says of their places `[row, column]`.
    fn multiply(&mut self, name: &str, factor: impl Fn([usize; 2]) -> f32) {
        let suffix = |known: &&String| known.ends_with(name);
        let key = self.tensors.keys().find(suffix).unwrap_or_else(|| panic!("no {name}")).clone();
        let tensor = &self.tensors[&key];
        let number = |value: &Value| value.as_u64().expect("a number") as usize;
        let shape: Vec<usize> = tensor["shape"].as_array().expect("a shape").iter().map(number).collect();
        assert_eq!(tensor["dtype"], "F32");
        let start = self.data + number(&tensor["data_offsets"][0]);
        let columns = if shape.len() == 2 { shape[1] } else { 1 };
        for place in 0..shape.iter().product() {
            let at = start + 4 * place;
            let value = f32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"));
            let value = value * factor([place / columns, place % columns]);
            self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// The model with outliers in `folder`: some channels of the values of some layers are much larger and the weights that
/// read them as much smaller, so that it computes what it did, and integers of one scale a row lose all other channels.
fn with_outliers(folder: &Path) {
    let source = fetched(FOLDER);
    let copied = std::process::Command::new("cp").arg("-rL").arg(&source).arg(folder).status();
    assert!(copied.expect("cp starts").success());
    let mut weights = Weights::read(&source.join("model.safetensors"));
    let large = |channel: usize| if CHANNELS.contains(&channel) { FACTOR } else { 1.0 };
    for layer in HURT {
        let attention = format!("encoder.layer.{layer}.attention");
        weights.multiply(&format!("{attention}.self.value.weight"), |[row, _]| large(row));
        weights.multiply(&format!("{attention}.self.value.bias"), |[row, _]| large(row));
        weights.multiply(&format!("{attention}.output.dense.weight"), |[_, column]| large(column).recip());
    }
    std::fs::write(folder.join("model.safetensors"), &weights.bytes).expect("written");
}

/// Trains a head on the model with outliers, and opens what came out.
fn trained(folder: &Path, quantize: &str) -> Bundle {
    with_outliers(&folder.join("outliers"));
    write_csv(&folder.join("topics.csv"), &newsgroups(&["rec.autos", "sci.space"], 500));
    let spec = format!(
        "[model]\nname = \"topics\"\nbase = \"file:outliers\"\n[data]\ntrain = \"file:topics.csv\"\n\
         split = {{ validation = 0.3, test = 0.2 }}\n[train]\nmethod = \"feature-extraction\"\nepochs = 8\n\
         learning_rate = 5e-3\nmax_length = 48\n[export]\nquantize = {quantize}\n"
    );
    std::fs::write(folder.join("refit.toml"), spec).expect("written");
    let outcome = json(folder, &["train", "refit.toml", "--json"]);
    Bundle::open(outcome["artifact"].as_str().expect("a path")).expect("intact")
}

fn search<'a>(bundle: &'a Bundle, engine: &str) -> &'a EngineSearch {
    let searches = &bundle.manifest().searches;
    searches.iter().find(|search| search.serving.engine == engine).expect("the engine was measured")
}

fn whole(search: &EngineSearch, precision: Precision) -> &Candidate {
    search.candidates.iter().find(|candidate| candidate.precision == precision).expect("it was tried")
}

fn is_hurt(weight: &str) -> bool {
    HURT.iter().any(|layer| weight.ends_with(&format!("encoder.layer.{layer}.attention.output.dense.weight")))
}

#[test]
#[ignore = "takes a minute and fetches a real model: cargo xtask test"]
fn layers_that_int8_hurts_stay_in_float32() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = trained(folder.path(), "{ format = \"int8\", max_drop = 0.05, min_speedup = 1.2 }");
    let found = search(&bundle, "onnxruntime");
    let int8 = whole(found, Precision::Int8);
    let drop = int8.accuracy_drop.expect("it was asked").estimate;
    assert!(drop > 0.05 && int8.verdict.contains("not accurate enough"), "{int8:?}");

    let serving = &bundle.manifest().serving;
    assert_eq!((serving.precision, serving.engine.as_str()), (Precision::Int8, "onnxruntime"), "{serving:?}");
    assert!(
        !serving.float_layers.is_empty() && serving.float_layers.iter().all(|weight| is_hurt(weight)),
        "{serving:?}"
    );
    assert!(serving.reason.contains("in float32 is served"), "{}", serving.reason);
    let served = found.candidates.iter().find(|candidate| candidate.float_layers == serving.float_layers);
    let served = served.expect("it was measured");
    assert!(served.accuracy_drop.expect("it was asked").upper <= 0.05, "{served:?}");
    assert!(served.speedup >= 1.2 && served.bytes > int8.bytes, "{served:?} {int8:?}");
    // The layers that were made to hurt are those that the ranking puts first.
    let first: Vec<&str> =
        found.sensitivity.iter().take(HURT.len()).map(|layer| layer.weight.as_str()).collect();
    assert!(first.iter().all(|weight| is_hurt(weight)), "{first:?}");

    let report = std::fs::read_to_string(bundle.path().join("report.html")).expect("a report");
    for part in ["not accurate enough", "hurts most for their size", first[0], "Accuracy lost over speed"] {
        assert!(report.contains(part), "{part}");
    }
    let text = "the rocket reached its orbit around the moon";
    let answer = json(folder.path(), &["predict", "refit.toml", "--version", "1", "--json", text]);
    assert_eq!(answer["label"], "sci.space", "{answer}");
}

/// Runs a Python script of the repository.
fn python(script: &str, arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let output = std::process::Command::new("python3").arg(root.join(script)).args(arguments).output();
    let output = output.expect("python3 starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "takes minutes and fetches a real model: cargo xtask test"]
fn files_of_every_format_are_what_the_standard_and_onnxruntime_accept() {
    for (format, representation) in [
        ("int8", "qdq"),
        ("int8-static", "qdq"),
        ("int8-static", "qoperator"),
        ("float16", "qdq"),
        ("int4", "qdq"),
        ("none", "qdq"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        write_csv(&folder.path().join("topics.csv"), &newsgroups(&["rec.autos", "sci.space"], 300));
        let quantize = format!(
            "[export]\nquantize = {{ format = \"{format}\", representation = \"{representation}\", \
             max_drop = 0.2, min_speedup = 0.0 }}"
        );
        write_topics_spec(
            folder.path(),
            "method = \"feature-extraction\"\nepochs = 4\nlearning_rate = 5e-3",
            &quantize,
        );
        let outcome = json(folder.path(), &["train", "refit.toml", "--json"]);
        let artifact = outcome["artifact"].as_str().expect("a path");
        let said = python("tests/clients/exported.py", &[artifact]);
        assert!(said.contains("ok: model.float32.onnx"), "{said}");
        let bundle = Bundle::open(artifact).expect("intact");
        let serving = &bundle.manifest().serving;
        let expected = match format {
            "none" => "float32",
            other => other,
        };
        assert_eq!(serving.precision.name(), expected, "{}", serving.reason);
        assert!(said.contains(&format!("ok: {}", serving.file)), "{said}");
        if format == "int8-static" {
            let model = std::fs::read(bundle.path().join(&serving.file)).expect("the file");
            let has = |name: &str| model.windows(name.len()).any(|bytes| bytes == name.as_bytes());
            assert_eq!(has("QLinearMatMul"), representation == "qoperator", "{representation}");
        }
        eprintln!("{format} ({representation}): {}\n{said}", serving.reason);

        // The example answers as refit does.
        let text = "the rocket reached its orbit around the moon";
        let answer = json(folder.path(), &["predict", "refit.toml", "--version", "1", "--json", text]);
        let example = python("examples/predict.py", &[artifact, text]);
        assert!(example.starts_with(answer["label"].as_str().expect("a label")), "{example} {answer}");
    }
}
