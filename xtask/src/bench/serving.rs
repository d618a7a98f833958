//! Raw text over HTTP against a bare loop of the same engine on the same tokens.

use super::{Options, Row, figure, median};
use crate::shell;
use anyhow::{Context, Result};

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let artifact = options
        .artifact
        .as_ref()
        .context("name an artifact with --artifact; `cargo run -- demo` makes .refit-demo/artifacts/review-sentiment/1")?;
    shell::run(shell::cargo().args([
        "build",
        "--quiet",
        "--package",
        "refit-inference",
        "--example",
        "throughput",
    ]))?;
    let example = shell::root().join("target/debug/examples/throughput");
    let mut rows = Vec::new();
    for engine in ["onnxruntime", "tract"] {
        let mut outputs = Vec::new();
        for _ in 0..options.rounds {
            outputs.push(shell::output(shell::program(&example).arg(artifact).arg(engine))?);
        }
        let pick = |name: &str| -> Result<f64> {
            Ok(median(outputs.iter().map(|output| figure(output, name)).collect::<Result<_>>()?))
        };
        let (ours, peer) = (pick("http_texts_per_second")?, pick("bare_texts_per_second")?);
        rows.push(Row::at_least(
            format!("raw text over HTTP, 32 tokens, bare {engine}: texts/s"),
            ours,
            peer,
            0.9,
        ));
    }
    Ok(rows)
}
