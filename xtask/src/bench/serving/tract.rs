//! Raw text over HTTP beside a bare loop of tract.

use super::bare::Loop;
use super::load::{Outcome, over};
use super::service::Service;
use super::{Bench, CONCURRENCY, PORT};
use crate::bench::{Row, median};
use anyhow::Result;

/// Part of the bare loop's throughput that is to be left.
const LEFT: f64 = 0.98;

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let home = bench.float32()?;
    let service = Service::start(bench, home, PORT, "engine = \"tract\"\n")?;
    let (target, model) = (service.target(home)?, home.artifact("1").join("model.float32.onnx"));
    let bare = Loop { engine: "tract", model: &model, sessions: 2, session_threads: 1 };
    let concurrency = CONCURRENCY[0];
    target.warm(concurrency)?;
    let (mut loops, mut ours) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        eprintln!("tract: round {} of {}", round + 1, bench.rounds);
        loops.push(bare.run(home)?.per_second);
        ours.push(target.load(concurrency)?);
    }
    let name = format!("raw text, MiniLM float32 in tract, {concurrency} at a time: texts/s, bare tract");
    Ok(vec![Row::at_least(name, over(&ours, Outcome::per_second), median(loops), LEFT)])
}
