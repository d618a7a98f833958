//! What reads bytes that anybody may have written: each must give a value or an error, whatever the bytes are. The tests
//! and `fuzz/` call the same functions.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use refit_graph::onnx::{self, NoExternalData};
use refit_preprocess::{TextPreprocessor, TextSettings};

/// A reader of untrusted bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its folder of seeds in `fuzz/corpus`.
    pub name: &'static str,
    /// Whether the bytes were read as what they should be.
    pub run: fn(&[u8]) -> bool,
    /// Files of the repository that are seeds too.
    pub more_seeds: &'static str,
}

/// All of them that need no service.
pub const TARGETS: [Target; 4] = [
    Target { name: "onnx", run: read_onnx, more_seeds: "" },
    Target { name: "checkpoint", run: read_checkpoint, more_seeds: "crates/families/tests/data/checkpoints" },
    Target { name: "tokenizer", run: read_tokenizer, more_seeds: "" },
    Target { name: "spec", run: read_spec, more_seeds: "" },
];

/// An ONNX file, and what is done with it first.
pub fn read_onnx(bytes: &[u8]) -> bool {
    let Ok(model) = onnx::read(Bytes::copy_from_slice(bytes), &NoExternalData) else { return false };
    let _ = refit_graph::verify(&model, "reading");
    let _ = onnx::write(&model);
    true
}

/// A file of weights: safetensors, or either form of PyTorch's pickles.
pub fn read_checkpoint(bytes: &[u8]) -> bool {
    let Ok(file) = in_a_file(bytes) else { return false };
    refit_families::read_checkpoint(file.path()).is_ok()
}

/// A `tokenizer.json`, and texts that it is tried on.
pub fn read_tokenizer(bytes: &[u8]) -> bool {
    let settings = TextSettings { max_length: 16, stride: Some(4) };
    let Ok(preprocessor) = TextPreprocessor::new(bytes, settings) else { return false };
    for text in ["", "a good film", "\u{e4}\u{1f600}\0 [CLS] ##x \u{200d}\u{301}"] {
        let _ = preprocessor.encode(text);
        let _ = preprocessor.encode_with_places(text);
    }
    true
}

/// A `refit.toml`.
pub fn read_spec(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    match refit_spec::Spec::parse(&text, Path::new(".")) {
        // What it became must be readable as well.
        Ok(spec) => refit_spec::Spec::parse(&spec.to_toml(), Path::new(".")).is_ok_and(|again| again == spec),
        Err(errors) => {
            let _ = errors.to_string();
            false
        }
    }
}

fn in_a_file(bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    Ok(file)
}

/// Numbers that look random and are the same in every run (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    /// One from 0 to before `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// Pieces that mean something to a parser: lengths at the edges, ends, separators.
const PIECES: [&[u8]; 14] = [
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0, 0, 0, 0, 0x80],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    b"\"",
    b"{",
    b"[[[[[[[[[[[[[[[[",
    b"]",
    b"null",
    b"-1",
    b"1e999",
    b"\\u0000",
    b"99999999999999999999",
    b"\xf0\x9f\x98",
];

/// A seed with one to eight changes, some of them from another seed; at most twice as long as the longest of both, and a
/// little.
pub fn mutated(seed: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let most = 2 * seed.len().max(other.len()) + 64;
    for _ in 0..[1, 1, 2, 4, 8][numbers.below(5)] {
        let at = numbers.below(bytes.len() + 1);
        let piece: &[u8] = match numbers.below(3) {
            0 => PIECES[numbers.below(PIECES.len())],
            1 => {
                let from = numbers.below(other.len() + 1);
                &other[from..(from + numbers.below(32)).min(other.len())]
            }
            _ => &[numbers.below(256) as u8],
        };
        match numbers.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            1 => {
                let until = (at + piece.len()).min(bytes.len());
                bytes.splice(at..until, piece.iter().copied());
            }
            2 => {
                bytes.splice(at..at, piece.iter().copied());
            }
            3 => {
                let until = (at + numbers.below(16)).min(bytes.len());
                bytes.drain(at..until);
            }
            4 => {
                let until = (at + numbers.below(64)).min(bytes.len());
                let part = bytes[at..until].to_vec();
                bytes.splice(at..at, part);
            }
            5 if numbers.below(8) == 0 => bytes.truncate(at),
            _ => {}
        }
        bytes.truncate(most);
    }
    bytes
}
