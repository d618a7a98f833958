//! What people give by mistake: one clear sentence each, nothing written.

mod support;

use std::path::Path;
use support::{FILE, FOLDER, fetched, newsgroups, run, write_csv};

/// Runs `refit train` on this data and base; it must fail with `says` in one sentence and leave nothing.
fn refuses(folder: &Path, data: &str, base: &str, says: &[&str]) {
    let spec = format!(
        "[model]\nname = \"m\"\nbase = \"{base}\"\ntokenizer = \"{FOLDER}/tokenizer.json\"\n\
         [data]\ntrain = \"file:{data}\"\n[train]\nepochs = 1\nmax_length = 16\n"
    );
    std::fs::write(folder.join("refit.toml"), spec).expect("writable");
    let output = run(folder, &["train", "refit.toml", "--output", "made"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{data}, {base}: {error}");
    let sentence = error.lines().filter(|line| line.starts_with("refit: ")).collect::<Vec<_>>();
    assert_eq!(sentence.len(), 1, "{data}, {base}: {error}");
    for words in says {
        assert!(sentence[0].contains(words), "{words:?} is not in: {}", sentence[0]);
    }
    assert!(!error.contains("panicked"), "{error}");
    assert!(!folder.join("made").exists(), "{data}, {base}: something was left");
}

#[test]
#[ignore = "fetches real data: cargo xtask test"]
fn data_that_cannot_be_learned_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("writable");
    write("columns.csv", b"txt,label\na text of some length,a\nanother text,b\n");
    write("empty.csv", b"");
    write("header.csv", b"text,label\n");
    write("one.csv", b"text,label\na text of some length,a\nanother text,a\na third one,a\n");
    write("unlabelled.csv", b"text,label\na text of some length,\nanother text,\n");
    write("data.xls", b"\xd0\xcf\x11\xe0");
    for (data, says) in [
        ("columns.csv", ["no column \"text\"", "txt"]),
        ("empty.csv", ["empty.csv", "empty"]),
        ("header.csv", ["header.csv", "no rows"]),
        ("one.csv", ["one.csv", "at least two labels"]),
        ("unlabelled.csv", ["unlabelled.csv", "label"]),
        ("missing.csv", ["missing.csv", "does not exist"]),
        ("data.xls", ["data.xls", "csv"]),
    ] {
        refuses(folder, data, FILE, &says);
    }
}

#[test]
#[ignore = "fetches real models: cargo xtask test"]
fn models_that_are_no_models() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    write_csv(&folder.join("topics.csv"), &newsgroups(&["rec.autos", "sci.space"], 60));

    let whole = std::fs::read(fetched(FILE)).expect("readable");
    std::fs::write(folder.join("truncated.onnx"), &whole[..whole.len() / 2]).expect("writable");
    refuses(folder, "topics.csv", "file:truncated.onnx", &["truncated.onnx"]);

    // Field 4 of a node is its operator.
    let (erf, foreign) = (b"\x22\x03Erf", b"\x22\x03Xyz");
    let mut other = whole;
    let places: Vec<usize> =
        other.windows(erf.len()).enumerate().filter(|(_, w)| w == erf).map(|(i, _)| i).collect();
    assert_eq!(places.len(), 3, "a GELU in each layer");
    for place in places {
        other[place..place + foreign.len()].copy_from_slice(foreign);
    }
    std::fs::write(folder.join("foreign.onnx"), other).expect("writable");
    refuses(folder, "topics.csv", "file:foreign.onnx", &["Xyz", "layer.0"]);

    let original = fetched(FOLDER);
    let copy = folder.join("bert");
    std::fs::create_dir(&copy).expect("a folder");
    std::fs::copy(original.join("config.json"), copy.join("config.json")).expect("copied");
    let mut weights = std::fs::read(original.join("model.safetensors")).expect("readable");
    weights.truncate(weights.len() / 2);
    std::fs::write(copy.join("model.safetensors"), &weights).expect("writable");
    refuses(folder, "topics.csv", "file:bert", &["model.safetensors"]);
    weights[8] = b'!';
    std::fs::write(copy.join("model.safetensors"), &weights).expect("writable");
    refuses(folder, "topics.csv", "file:bert", &["model.safetensors"]);
    refuses(folder, "topics.csv", "file:nothing", &["nothing"]);
}
