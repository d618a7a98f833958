//! What watching and keeping of texts costs.

use super::load::{Outcome, over};
use super::service::Service;
use super::{Bench, PORT, http};
use crate::bench::Row;
use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Part of the throughput without that is to be left.
const LEFT: f64 = 0.98;
const CONCURRENCY: usize = 8;
const MONITORING: &str = "127.0.0.1:18381";
/// As often as Prometheus comes where it is told to hurry.
const SCRAPE: Duration = Duration::from_secs(2);

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let home = bench.int8()?;
    let settings = format!("monitoring = \"{MONITORING}\"\nsampling = {{ share = 1.0 }}\n");
    let with = Service::start(bench, home, PORT, &settings)?;
    let without = Service::of_artifact(bench, home, PORT + 2)?;
    let (with, without) = (with.target(home)?, without.target(home)?);
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for target in [&with, &without] {
        target.warm(CONCURRENCY)?;
    }
    for round in 0..bench.rounds {
        eprintln!("monitoring on and off: round {} of {}", round + 1, bench.rounds);
        on.push(scraped(|| with.load(CONCURRENCY))?);
        off.push(without.load(CONCURRENCY)?);
    }
    let per_second = |outcomes: &[Outcome]| over(outcomes, Outcome::per_second);
    let name = "recorded, sampled and scraped: texts/s, served without a store";
    Ok(vec![Row::at_least(name, per_second(&on), per_second(&off), LEFT)])
}

/// Does `work` while the metrics are read from time to time.
fn scraped<T>(work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = http::get(MONITORING, "/metrics");
                std::thread::park_timeout(SCRAPE);
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        scraper.thread().unpark();
        result
    })
}
