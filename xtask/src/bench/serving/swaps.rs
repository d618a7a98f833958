//! From a start to the first answer, and a thousand changes of the version that serves, under load.

use super::home::MODEL;
use super::service::Service;
use super::{Bench, PORT};
use crate::bench::{Row, median};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

const READY_SECONDS: f64 = 1.0;
const SWAPS: usize = 1000;
/// Both sessions are kept busy.
const CONCURRENCY: usize = 4;
/// Before memory is looked at, so that what ended has been given back.
const REST: Duration = Duration::from_secs(3);

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let home = bench.int8()?;
    let mut ready = Vec::new();
    for _ in 0..bench.rounds {
        ready.push(Service::start(bench, home, PORT, "")?.ready_seconds);
    }
    let service = Service::start(bench, home, PORT, "")?;
    let target = service.target(home)?;
    target.warm(CONCURRENCY)?;
    let load = target.start(CONCURRENCY)?;
    std::thread::sleep(REST);
    let (before, began) = (service.memory_mb()?, Instant::now());
    for swap in 1..=SWAPS {
        home.promote(bench, if swap % 2 == 1 { "2" } else { "1" })?;
        service.load()?;
        if swap % 100 == 0 {
            let (memory, seconds) = (service.memory_mb()?, began.elapsed().as_secs_f64());
            eprintln!("{swap} swaps in {seconds:.0} s: {memory:.1} MB, {before:.1} MB before");
        }
    }
    let swapped = service.metric(&format!("refit_model_swaps_total{{model=\"{MODEL}\"}}"))?;
    ensure!(swapped as usize == SWAPS, "{swapped} of {SWAPS} swaps took place");
    std::thread::sleep(REST);
    let after = service.memory_mb()?;
    let outcome = load.end()?;
    let answered = outcome.requests - outcome.failed;
    Ok(vec![
        Row::at_most("from start to ready, s, against 1", median(ready), READY_SECONDS, 1.0),
        Row::at_least("1,000 hot swaps under load: requests answered, sent", answered, outcome.requests, 1.0)
            .of_rounds(1),
        Row::at_most("1,000 hot swaps under load: memory after, MB, before", after, before, 1.05)
            .of_rounds(1),
    ])
}
