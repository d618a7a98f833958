//! A full fine-tuning step of MiniLM against PyTorch with sdpa and fused AdamW, 2 threads each.

use super::{Options, Row, bench_python, figure, median};
use crate::shell;
use anyhow::Result;

/// Rows x tokens.
const SHAPES: [(usize, usize); 2] = [(32, 64), (16, 128)];
/// Steps of one run; the first ones warm up.
const STEPS: usize = 8;

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let python = bench_python(options)?;
    shell::run(shell::cargo().args(["build", "--quiet", "--workspace", "--example", "step"]))?;
    let example = shell::root().join("target/debug/examples/step");
    let mut rows = Vec::new();
    for (batch, sequence) in SHAPES {
        let arguments = [batch.to_string(), sequence.to_string(), STEPS.to_string()];
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for round in 0..options.rounds {
            eprintln!("{batch} x {sequence}: round {} of {}", round + 1, options.rounds);
            ours.push(shell::output(
                shell::program(&example).args(&arguments).env("RAYON_NUM_THREADS", "2"),
            )?);
            peer.push(shell::output(
                shell::program(&python).arg("xtask/bench/torch_step.py").args(&arguments),
            )?);
        }
        let pick = |outputs: &[String], name: &str| -> Result<f64> {
            Ok(median(outputs.iter().map(|output| figure(output, name)).collect::<Result<_>>()?))
        };
        let name = format!("MiniLM full step {batch} x {sequence}, PyTorch");
        rows.push(Row::at_most(
            format!("{name}: median ms"),
            pick(&ours, "median_ms")?,
            pick(&peer, "median_ms")?,
            1.15,
        ));
        rows.push(Row::at_most(
            format!("{name}: peak memory, MB"),
            pick(&ours, "peak_rss_mb")?,
            pick(&peer, "peak_rss_mb")?,
            0.6,
        ));
    }
    Ok(rows)
}
