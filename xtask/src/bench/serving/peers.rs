//! Raw text over HTTP beside the same of other servers: same model, same tokenizer, same texts, same load.

use super::home::Home;
use super::load::{Outcome, Target, over};
use super::peer_list::{CROWD, PEERS, Peer, Tuning};
use super::peer_process::PeerProcess;
use super::service::Service;
use super::{Bench, CONCURRENCY, PORT};
use crate::bench::Row;
use anyhow::{Context, Result, bail};

/// Factors on the throughput of the best peer, one for each of [`CONCURRENCY`].
const GOALS: [f64; CONCURRENCY.len()] = [1.7, 2.0, 2.0];
/// Texts whose answers are compared before anything is measured, and how far logits may be apart.
const COMPARED: usize = 16;
const TOLERANCE: f64 = 1e-3;

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut contest = Contest::new(bench, bench.int8()?, CROWD, CONCURRENCY.to_vec());
    for round in 0..bench.rounds {
        contest.round(round, || Ok(()))?;
    }
    let mut rows = Vec::new();
    for (concurrency, goal) in CONCURRENCY.into_iter().zip(GOALS) {
        contest.show(concurrency);
        let name = |what: &str, best: &str| {
            format!("raw text, MiniLM int8, {concurrency} at a time: {what}, best peer [{best}]")
        };
        let (best, of_best) = contest.best(concurrency, Outcome::per_second, |a, b| a > b)?;
        let ours = contest.ours(concurrency, Outcome::per_second);
        rows.push(Row::at_least(name("texts/s", best), ours, of_best, goal));
        let (best, of_best) = contest.best(concurrency, |outcome| outcome.p99_ms, |a, b| a < b)?;
        let ours = contest.ours(concurrency, |outcome| outcome.p99_ms);
        rows.push(Row::at_most(name("p99, ms", best), ours, of_best, 1.0));
    }
    Ok(rows)
}

/// refit and its peers, one after the other: some are busy even when nobody asks them.
pub struct Contest<'a> {
    bench: &'a Bench,
    home: &'a Home,
    tuning: Tuning,
    concurrency: Vec<usize>,
    ours: Side,
    peers: Vec<Side>,
    /// Of the first texts, by refit.
    logits: Vec<Vec<f64>>,
}

/// What one of them reached: for each concurrency an outcome a round.
struct Side {
    name: &'static str,
    outcomes: Vec<Vec<Outcome>>,
    left_out: bool,
}

impl<'a> Contest<'a> {
    pub fn new(bench: &'a Bench, home: &'a Home, tuning: Tuning, concurrency: Vec<usize>) -> Self {
        let side = |name| Side { name, outcomes: vec![Vec::new(); concurrency.len()], left_out: false };
        let peers = PEERS.iter().map(|peer| side(peer.name)).collect();
        Self { bench, home, tuning, ours: side("refit"), peers, logits: Vec::new(), concurrency }
    }

    /// Measures each of them once, after `beside` is done; of a peer that fails it says why and leaves it out.
    ///
    /// # Errors
    /// When refit fails, or a peer answers otherwise than refit: then it does not do the same work.
    pub fn round(&mut self, round: usize, beside: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("peers: round {} of {}", round + 1, self.bench.rounds);
        beside()?;
        let service = Service::start(self.bench, self.home, PORT, "")?;
        if self.logits.is_empty() {
            let texts = self.home.texts()?;
            self.logits =
                texts.iter().take(COMPARED).map(|text| service.logits(text)).collect::<Result<_>>()?;
        }
        self.ours.load(&service.target(self.home)?, &self.concurrency)?;
        drop(service);
        for (peer, side) in PEERS.iter().zip(&mut self.peers).filter(|(_, side)| !side.left_out) {
            let process = match PeerProcess::start(peer, self.home, PORT, self.tuning) {
                Ok(process) => process,
                Err(error) => {
                    side.leave_out(&error);
                    continue;
                }
            };
            if round == 0 {
                compare(peer, &process, self.home, &self.logits)?;
            }
            if let Err(error) = side.load(&process.target, &self.concurrency) {
                side.leave_out(&error);
            }
        }
        Ok(())
    }

    /// The median of one of our figures.
    pub fn ours(&self, concurrency: usize, figure: impl Fn(&Outcome) -> f64) -> f64 {
        over(&self.ours.outcomes[self.place(concurrency)], figure)
    }

    /// The peer with the best median of a figure.
    ///
    /// # Errors
    /// When no peer could be measured.
    pub fn best(
        &self,
        concurrency: usize,
        figure: impl Fn(&Outcome) -> f64,
        is_better: impl Fn(f64, f64) -> bool,
    ) -> Result<(&'static str, f64)> {
        let place = self.place(concurrency);
        let measured = self.peers.iter().filter(|side| !side.left_out);
        let figures = measured.map(|side| (side.name, over(&side.outcomes[place], &figure)));
        figures
            .reduce(|one, other| if is_better(other.1, one.1) { other } else { one })
            .context("no peer could be measured")
    }

    /// Prints what everybody reached.
    pub fn show(&self, concurrency: usize) {
        let place = self.place(concurrency);
        for side in [&self.ours].into_iter().chain(&self.peers).filter(|side| !side.left_out) {
            let median = |figure: fn(&Outcome) -> f64| over(&side.outcomes[place], figure);
            eprintln!(
                "{concurrency} at a time, {:<8} {:7.1} texts/s, p50 {:7.2} ms, p99 {:7.2} ms",
                side.name,
                median(Outcome::per_second),
                median(|outcome| outcome.p50_ms),
                median(|outcome| outcome.p99_ms),
            );
        }
    }

    fn place(&self, concurrency: usize) -> usize {
        self.concurrency.iter().position(|known| *known == concurrency).unwrap_or_default()
    }
}

impl Side {
    fn load(&mut self, target: &Target, concurrency: &[usize]) -> Result<()> {
        target.warm(concurrency[0])?;
        for (concurrency, outcomes) in concurrency.iter().zip(&mut self.outcomes) {
            outcomes.push(target.load(*concurrency)?);
        }
        Ok(())
    }

    fn leave_out(&mut self, error: &anyhow::Error) {
        eprintln!("{} is left out: {error:#}", self.name);
        self.left_out = true;
    }
}

/// Whether it does the same work.
fn compare(peer: &Peer, process: &PeerProcess, home: &Home, logits: &[Vec<f64>]) -> Result<()> {
    for (text, ours) in home.texts()?.iter().zip(logits) {
        let theirs = process.logits(peer, text)?;
        let same = |(ours, theirs): (&f64, &f64)| (ours - theirs).abs() <= TOLERANCE;
        if ours.len() != theirs.len() || !ours.iter().zip(&theirs).all(same) {
            bail!("{} answers {theirs:?} where refit answers {ours:?}: {text}", peer.name);
        }
    }
    Ok(())
}
