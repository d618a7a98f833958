//! One request at a time, which may have all cores: latency beside other servers and the bare call.

use super::Bench;
use super::bare::Loop;
use super::load::Outcome;
use super::peer_list::LONE;
use super::peers::Contest;
use crate::bench::{Row, median};
use anyhow::Result;

/// Part of the best peer's median that ours may take.
const LIMIT: f64 = 0.9;
/// Milliseconds that the service may add to the bare call.
const OVERHEAD_MS: f64 = 0.3;

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let home = bench.int8()?;
    let model = home.model("1")?;
    let bare = Loop { engine: "onnxruntime", model: &model, sessions: 1, session_threads: 2 };
    let (mut calls, mut contest) = (Vec::new(), Contest::new(bench, home, LONE, vec![1]));
    for round in 0..bench.rounds {
        contest.round(round, || {
            calls.push(bare.run(home)?.p50_ms);
            Ok(())
        })?;
    }
    contest.show(1);
    let p50_ms = |outcome: &Outcome| outcome.p50_ms;
    let (ours, call) = (contest.ours(1, p50_ms), median(calls));
    eprintln!("the bare call on two threads, tokenization included: p50 {call:.2} ms");
    let (best, of_best) = contest.best(1, p50_ms, |a, b| a < b)?;
    let name = |what: &str| format!("raw text, MiniLM int8, 1 at a time: {what}");
    Ok(vec![
        Row::at_most(name(&format!("p50, ms, best peer [{best}]")), ours, of_best, LIMIT),
        Row::at_most(name("p50 over that of the bare call, ms, against 0.3"), ours - call, OVERHEAD_MS, 1.0),
    ])
}
