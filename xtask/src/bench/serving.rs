//! Raw text through the predictor's path against a bare loop of the same engine on the same tokens.
//!
//! Not over HTTP yet: this bounds what the service can reach.

use super::{Options, Row, figure, median};
use crate::shell;
use anyhow::{Context, Result};

/// Seconds of one measurement.
const SECONDS: &str = "10";

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let artifact = options.artifact.as_ref().context(
        "name an artifact with --artifact; `cargo run -- demo` makes .refit-demo/artifacts/review-sentiment/1",
    )?;
    shell::run(shell::cargo().args(["build", "--quiet", "--workspace", "--example", "throughput"]))?;
    let example = shell::root().join("target/debug/examples/throughput");
    let mut rows = Vec::new();
    for engine in ["onnxruntime", "tract"] {
        let mut outputs = Vec::new();
        for _ in 0..options.rounds {
            let mut command = shell::program(&example);
            command.arg("--artifact").arg(artifact).args(["--engine", engine, "--threads", "2"]);
            outputs.push(shell::output(command.args(["--seconds", SECONDS]))?);
        }
        let pick = |name: &str| -> Result<f64> {
            Ok(median(outputs.iter().map(|output| figure(output, name)).collect::<Result<_>>()?))
        };
        let (ours, peer) = (pick("texts_per_second")?, pick("bare_texts_per_second")?);
        rows.push(Row::at_least(
            format!("raw text, 32 tokens, against bare {engine}: texts/s"),
            ours,
            peer,
            0.9,
        ));
    }
    Ok(rows)
}
