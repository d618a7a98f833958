//! Ten times as many requests as can be answered.

use super::load::{Outcome, Target, over};
use super::service::Service;
use super::{Bench, CONCURRENCY, PORT};
use crate::bench::{Row, figure};
use crate::shell;
use anyhow::{Context, Result, bail};
use std::process::Stdio;
use std::time::Duration;

const TIMES: f64 = 10.0;
const SECONDS: u64 = 60;
/// When connections and queue have filled up: the memory for them is no growth.
const FULL_AFTER: Duration = Duration::from_secs(10);
/// Enough that some are free at every time at which a request is due.
const CONNECTIONS: &str = "768";
const DEADLINE_MS: f64 = 2000.0;

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let home = bench.int8()?;
    let service = Service::start(bench, home, PORT, &format!("deadline = \"{DEADLINE_MS}ms\"\n"))?;
    let target = service.target(home)?;
    let capacity = capacity(&target, bench.rounds)?;
    let load = Overload::of(&target, TIMES * capacity, &service)?;
    let times = load.asked / load.seconds / capacity;
    eprintln!(
        "{times:.1} times the capacity of {capacity:.1} texts/s: {} asked, {} answered, {} refused",
        load.asked, load.answered, load.refused
    );
    if times < 0.95 * TIMES {
        bail!("the load was only {times:.1} times the capacity: something else has the cores");
    }
    let name = |what: &str| format!("10 times the capacity for 60 s: {what}");
    Ok(vec![
        Row::at_least(name("answered texts/s, capacity"), load.answered / load.seconds, capacity, 0.9)
            .of_rounds(1),
        Row::at_most(name("p99 of the answered, ms, deadline"), load.p99_ms, DEADLINE_MS, 1.0).of_rounds(1),
        Row::at_most(name("memory at the end, MB, after 10 s"), load.memory_after, load.memory_before, 1.05)
            .of_rounds(1),
    ])
}

/// What it answers when as much is asked as it can answer.
fn capacity(target: &Target, rounds: usize) -> Result<f64> {
    let outcomes = (0..rounds).map(|_| target.load(CONCURRENCY[1])).collect::<Result<Vec<_>>>()?;
    Ok(over(&outcomes, Outcome::per_second))
}

/// What came of too many requests.
struct Overload {
    asked: f64,
    answered: f64,
    refused: f64,
    seconds: f64,
    p99_ms: f64,
    memory_before: f64,
    memory_after: f64,
}

impl Overload {
    fn of(target: &Target, rate: f64, service: &Service) -> Result<Self> {
        let mut wrk = shell::program("wrk");
        wrk.args(["-t", "1", "--timeout", "60s", "-c", CONNECTIONS, "-d", &format!("{SECONDS}s")]);
        wrk.args(["-s", "xtask/bench/overload.lua", &target.url, "--"]).arg(&target.bodies);
        let started = wrk.arg(rate.to_string()).stdout(Stdio::piped()).spawn();
        let load = started.context("wrk cannot be started")?;
        std::thread::sleep(FULL_AFTER);
        let memory_before = service.memory_mb()?;
        std::thread::sleep(Duration::from_secs(SECONDS - 1) - FULL_AFTER);
        let memory_after = service.memory_mb()?;
        let printed = String::from_utf8(load.wait_with_output()?.stdout)?;
        let number = |name: &str| figure(&printed, name);
        if number("broken")? > 0.0 {
            bail!("{} connections broke under overload", number("broken")?);
        }
        Ok(Self {
            asked: number("asked")?,
            answered: number("answered")?,
            refused: number("refused")?,
            seconds: number("seconds")?,
            p99_ms: number("p99_ms")?,
            memory_before,
            memory_after,
        })
    }
}
