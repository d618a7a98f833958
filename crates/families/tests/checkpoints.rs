//! Files that PyTorch wrote (tests/reference/checkpoints.py), whole, cut, mutated and malicious.

use refit_families::{FamilyError, Tensors, load, read_checkpoint};
use refit_graph::{DType, HostTensor};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoints").join(file)
}

fn values(tensor: &HostTensor) -> Vec<f64> {
    match tensor.to_f32() {
        Some(values) => values.into_iter().map(f64::from).collect(),
        None => tensor.to_i64().unwrap().into_iter().map(|value| value as f64).collect(),
    }
}

/// Reads bytes as a file of their own.
fn read_bytes(bytes: &[u8]) -> Result<Tensors, FamilyError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("weights.bin");
    fs::write(&path, bytes).unwrap();
    read_checkpoint(&path)
}

#[test]
fn both_forms_hold_what_torch_reads_in_them() {
    let expected: Value = serde_json::from_slice(&fs::read(data("expected.json")).unwrap()).unwrap();
    let expected = expected.as_object().unwrap();
    for file in ["zip.bin", "old.pth"] {
        let tensors = read_checkpoint(&data(file)).unwrap();
        assert_eq!(tensors.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{file}");
        for (name, wanted) in expected {
            let tensor = &tensors[name];
            let shape: Vec<usize> = serde_json::from_value(wanted["shape"].clone()).unwrap();
            let wanted: Vec<f64> = serde_json::from_value(wanted["values"].clone()).unwrap();
            assert_eq!(tensor.shape(), shape, "{file} {name}");
            for (found, wanted) in values(tensor).iter().zip(&wanted) {
                assert!((found - wanted).abs() <= 1e-7 * wanted.abs(), "{file} {name}: {found} for {wanted}");
            }
            assert_eq!(values(tensor).len(), wanted.len());
        }
        let dtypes = ["half", "brain", "double", "plain", "long", "flags"].map(|name| tensors[name].dtype());
        assert_eq!(dtypes, [DType::F32, DType::F32, DType::F32, DType::F32, DType::I64, DType::Bool]);
    }
}

#[test]
fn weights_lie_beside_other_things_too() {
    let tensors = read_checkpoint(&data("nested.pth")).unwrap();
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["plain"]);
    assert_eq!(tensors["plain"], read_checkpoint(&data("zip.bin")).unwrap()["plain"]);
}

#[test]
fn a_model_is_the_same_whatever_its_weights_lie_in() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-distilbert");
    let expected = load(&tiny).unwrap();
    let forms: [(&[&str], &str); 4] = [
        (&["distilbert.bin"], "pytorch_model.bin"),
        (&["distilbert-old.bin"], "pytorch_model.bin"),
        (
            &[
                "sharded/model-00001-of-00002.safetensors",
                "sharded/model-00002-of-00002.safetensors",
                "sharded/model.safetensors.index.json",
            ],
            "",
        ),
        (
            &[
                "sharded/pytorch_model-00001-of-00002.bin",
                "sharded/pytorch_model-00002-of-00002.bin",
                "sharded/pytorch_model.bin.index.json",
            ],
            "",
        ),
    ];
    for (files, name) in forms {
        let folder = TempDir::new().unwrap();
        fs::copy(tiny.join("config.json"), folder.path().join("config.json")).unwrap();
        for file in files {
            let own = Path::new(file).file_name().unwrap().to_str().unwrap();
            fs::copy(data(file), folder.path().join(if name.is_empty() { own } else { name })).unwrap();
        }
        let found = load(folder.path()).unwrap();
        assert!(found.model == expected.model, "{files:?}");
        assert_eq!(found.ignored_weights, expected.ignored_weights);
        assert!(found.ignored_weights.iter().any(|name| name.starts_with("pre_classifier.")));
    }
}

#[test]
fn an_index_stays_in_its_folder_and_tells_the_truth() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors.index.json");
    let shard = "model-00001-of-00002.safetensors";
    fs::copy(data(&format!("sharded/{shard}")), folder.path().join(shard)).unwrap();
    for (file, says) in [
        ("../secret.safetensors", "not a file beside it"),
        ("/etc/passwd", "not a file beside it"),
        ("a.index.json", "not a file beside it"),
        ("absent.safetensors", "cannot be read"),
        (shard, "it does not say that"),
    ] {
        fs::write(&path, format!(r#"{{"weight_map": {{"absent": "{file}"}}}}"#)).unwrap();
        let message = read_checkpoint(&path).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn what_would_run_something_is_refused_and_named() {
    for (evil, name) in [("system", "posix.system"), ("eval", "__builtin__.eval"), ("getattr", "getattr")] {
        for ending in [".bin", "-old.bin", ".pkl"] {
            let error = read_checkpoint(&data(&format!("evil-{evil}{ending}"))).unwrap_err();
            assert!(matches!(error, FamilyError::Unsafe { .. }), "{evil}{ending}: {error}");
            let message = error.to_string().replace("builtins.", "__builtin__.");
            assert!(message.contains(name), "{message}");
            assert!(message.contains("Nothing in it was executed"), "{message}");
        }
    }
    assert!(!Path::new("/tmp/refit-was-tricked").exists());
}

/// Pickles by hand that ask for too much of a reader.
#[test]
fn pickles_that_would_exhaust_a_reader_are_told_off() {
    let nest = |code: &[u8]| [b"\x80\x02]".as_slice(), &code.repeat(1_000_000), b"."].concat();
    let deep = nest(b"\x85");
    let copies = nest(b"2");
    let remembered = [b"\x80\x02}r\xff\xff\xff\xff.".as_slice()].concat();
    let huge_text = b"\x80\x02X\xff\xff\xff\x7fabc.".to_vec();
    let huge_long = b"\x80\x02\x8b\xff\xff\xff\x7fabc.".to_vec();
    // A list of a thousand pairs, of which two hundred thousand dictionaries would be made.
    let pair = b"NN\x86".repeat(1000);
    let calls = b"ccollections\nOrderedDict\nh\x00R0".repeat(200_000);
    let multiplied = [b"\x80\x02](".as_slice(), &pair, b"e\x85q\x000", &calls, b"N."].concat();
    let self_made = b"\x80\x02]q\x00h\x00a.".to_vec();
    let unmarked = b"\x80\x02tu.".to_vec();
    for pickle in [deep, copies, remembered, huge_text, huge_long, multiplied, self_made, unmarked] {
        let message = read_bytes(&pickle).unwrap_err().to_string();
        assert!(message.contains("is truncated or damaged"), "{message}");
    }
}

#[test]
fn a_file_cut_anywhere_is_said_to_be_damaged() {
    for file in ["zip.bin", "old.pth", "nested.pth"] {
        let whole = fs::read(data(file)).unwrap();
        for length in (1..whole.len()).step_by(7) {
            let error = read_bytes(&whole[..length]).expect_err("it is read");
            assert!(matches!(error, FamilyError::Damaged { .. }), "{file} cut to {length}: {error}");
        }
    }
}

/// A small generator of numbers (splitmix64), so that every run mutates alike.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

#[test]
fn mutated_bytes_give_tensors_or_an_error_and_never_a_panic() {
    let mut numbers = Numbers(20261121);
    for file in ["zip.bin", "old.pth", "evil-system.pkl"] {
        let whole = fs::read(data(file)).unwrap();
        // Most of a file is elements: where instructions lie, mutations come often.
        let instructions = whole.len().min(2500);
        let mut errors = 0;
        for _ in 0..4000 {
            let mut bytes = whole.clone();
            for _ in 0..=numbers.below(4) {
                let reach = if numbers.below(3) == 0 { bytes.len() } else { instructions.min(bytes.len()) };
                let at = numbers.below(reach);
                match numbers.below(4) {
                    0 => bytes[at] = numbers.below(256) as u8,
                    1 => bytes[at] ^= 1 << numbers.below(8),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, [0xff, b'.', b'(', b'R', 0x00, b'Q'][numbers.below(6)]),
                }
            }
            match read_bytes(&bytes) {
                Ok(tensors) => {
                    let elements: usize = tensors.values().map(HostTensor::len).sum();
                    assert!(elements <= 16 * whole.len(), "{elements} elements of {} bytes", whole.len());
                }
                Err(_) => errors += 1,
            }
        }
        assert!(errors > 1000, "{file}: {errors} of 4000 mutations are seen");
    }
}
