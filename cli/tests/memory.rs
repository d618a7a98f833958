//! The memory that a run is said to take before it begins, against what it takes.

mod support;

use std::path::Path;
use std::process::Output;
use support::{Row, refit, tiny, write_csv};

/// The estimate may be this share off, and so many bytes for what the process holds aside.
const TOLERANCE: f64 = 0.25;
const ASIDE: f64 = 30e6;

fn write_rows(folder: &Path, count: usize, words: usize) {
    let rows: Vec<Row> = (0..count)
        .map(|row| {
            let label = if row % 2 == 0 { "good" } else { "bad" };
            let more = (0..words).map(|word| ["film", "story", "plot", "cast"][(row + word * 7) % 4]);
            (format!("{label} {row} {}", more.collect::<Vec<_>>().join(" ")), label.to_owned())
        })
        .collect();
    write_csv(&folder.join("rows.csv"), &rows);
}

fn train(folder: &Path, output: &str, train: &str) -> Output {
    let spec = format!(
        "[model]\nname = \"m\"\nbase = \"file:bert\"\n[data]\ntrain = \"file:rows.csv\"\n\
         split = {{ validation = 0.2, test = 0.2 }}\n[export]\nquantize = {{ format = \"none\" }}\n\
         [train]\nepochs = 1\n{train}\n"
    );
    std::fs::write(folder.join("refit.toml"), spec).expect("written");
    refit(folder).args(["train", "refit.toml", "--output", output]).output().expect("refit starts")
}

/// Bytes in the line with `words`: `needs about 12 MB of memory; ...`.
fn bytes(text: &str, words: &str) -> f64 {
    let at = text.find(words).unwrap_or_else(|| panic!("{words:?} is not in: {text}"));
    let mut parts = text[at + words.len()..].split_whitespace();
    let number: f64 = parts.next().and_then(|number| number.parse().ok()).expect("a number");
    number * if parts.next() == Some("GB") { 1e9 } else { 1e6 }
}

fn measured(folder: &Path, name: &str, keys: &str) -> (f64, f64) {
    let output = train(folder, name, keys);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    (bytes(&text, "needs about "), bytes(&text, "took at most "))
}

#[test]
fn the_estimate_is_what_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    tiny::write_larger_base(folder, 256, 4);
    write_rows(folder, 330, 120);
    let mut all = Vec::new();
    for (method, size, length) in [
        ("full", 16, 128),
        ("full", 48, 64),
        ("lora(rank = 8, alpha = 16)", 32, 128),
        ("lora(rank = 8, alpha = 16)", 8, 64),
        ("partial(last_layers = 2)", 32, 128),
        ("feature-extraction", 32, 128),
    ] {
        let keys = format!("method = \"{method}\"\nbatch_size = {size}\nmax_length = {length}");
        let name = format!("{}-{size}-{length}", &method[..4]);
        let (needed, taken) = measured(folder, &name, &keys);
        all.push(format!("{name}: {:.0} MB said, {:.0} MB taken", needed / 1e6, taken / 1e6));
        let off = (needed - taken).abs();
        assert!(off <= TOLERANCE * taken + ASIDE, "{}", all.join("\n"));
    }
    println!("{}", all.join("\n"));
}

#[test]
fn activation_checkpointing_takes_less() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    tiny::write_larger_base(folder, 256, 4);
    write_rows(folder, 330, 120);
    let keys = "method = \"full\"\nbatch_size = 32\nmax_length = 128";
    let (said, all) = measured(folder, "all", keys);
    let (said_again, again) = measured(folder, "again", &format!("{keys}\nactivation_checkpointing = true"));
    println!("{said:.2e} {all:.2e} {said_again:.2e} {again:.2e}");
    assert!(again < 0.75 * all, "{again:.2e} bytes instead of {all:.2e}");
    assert!(
        (said_again - again).abs() <= TOLERANCE * again + ASIDE,
        "{said_again:.2e} said, {again:.2e} taken"
    );
}

#[test]
fn what_cannot_fit_is_not_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    tiny::write_larger_base(folder, 256, 4);
    write_rows(folder, 9000, 500);
    let output = train(folder, "never", "method = \"full\"\nbatch_size = 65536\nmax_length = 512");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let sentence = text.lines().find(|line| line.starts_with("refit: ")).expect("a sentence");
    for words in ["training needs about", "are free", "train.batch_size = ", "train.accumulate = "] {
        assert!(sentence.contains(words), "{words:?} is not in: {sentence}");
    }
    assert!(!folder.join(".never.checkpoints").exists(), "nothing is left");
}
