//! Raw text over HTTP beside a bare loop of ONNX Runtime.

use super::bare::Loop;
use super::load::{Outcome, over};
use super::service::Service;
use super::{Bench, CONCURRENCY, PORT};
use crate::bench::{Row, median};
use anyhow::Result;

/// Part of the bare loop's throughput that is to be left.
const LEFT: f64 = 0.95;

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let home = bench.int8()?;
    let service = Service::start(bench, home, PORT, "")?;
    let (target, model) = (service.target(home)?, home.model("1")?);
    let bare = Loop { engine: "onnxruntime", model: &model, sessions: 2, session_threads: 1 };
    target.warm(CONCURRENCY[0])?;
    let (mut loops, mut ours) = (Vec::new(), [const { Vec::<Outcome>::new() }; CONCURRENCY.len()]);
    for round in 0..bench.rounds {
        eprintln!("bare loop: round {} of {}", round + 1, bench.rounds);
        loops.push(bare.run(home)?.per_second);
        for (concurrency, ours) in CONCURRENCY.iter().zip(&mut ours) {
            ours.push(target.load(*concurrency)?);
        }
    }
    let bare = median(loops);
    let row = |(concurrency, ours): (&usize, &Vec<Outcome>)| {
        let name = format!("raw text, MiniLM int8, {concurrency} at a time: texts/s, bare ONNX Runtime");
        Row::at_least(name, over(ours, Outcome::per_second), bare, LEFT)
    };
    Ok(CONCURRENCY.iter().zip(&ours).map(row).collect())
}
