//! wrk, and what it says.

use super::{SECONDS, WARM_SECONDS};
use crate::bench::{figure, median};
use crate::shell;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Seconds after which load in the background ends by itself.
const LONGEST: u64 = 24 * 3600;

/// Where requests go, and the file of their bodies.
pub struct Target {
    pub url: String,
    pub bodies: PathBuf,
}

/// What came of the requests.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub requests: f64,
    pub failed: f64,
    pub seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Target {
    /// Keeps so many requests under way for [`SECONDS`].
    ///
    /// # Errors
    /// When a request fails: what a server answers fast with errors is no throughput.
    pub fn load(&self, concurrency: usize) -> Result<Outcome> {
        self.load_for(concurrency, SECONDS)
    }

    /// A load that counts for nothing, so that what is measured next is warm.
    pub fn warm(&self, concurrency: usize) -> Result<()> {
        self.load_for(concurrency, WARM_SECONDS).map(|_| ())
    }

    fn load_for(&self, concurrency: usize, seconds: u64) -> Result<Outcome> {
        let outcome = Outcome::read(&shell::output(&mut self.command(concurrency, seconds))?)?;
        if outcome.failed > 0.0 {
            bail!("{} of {} requests to {} failed", outcome.failed, outcome.requests, self.url);
        }
        Ok(outcome)
    }

    /// The same in the background, for as long as it is needed.
    pub fn start(&self, concurrency: usize) -> Result<Running> {
        let mut command = self.command(concurrency, LONGEST);
        let child = command.stdout(Stdio::piped()).spawn().context("wrk cannot be started")?;
        Ok(Running(child))
    }

    fn command(&self, concurrency: usize, seconds: u64) -> Command {
        let mut wrk = shell::program("wrk");
        let (concurrency, seconds) = (concurrency.to_string(), format!("{seconds}s"));
        wrk.args(["-t", "1", "--timeout", "60s", "-c", &concurrency, "-d", &seconds]);
        wrk.args(["-s", "xtask/bench/load.lua", &self.url, "--"]).arg(&self.bodies);
        wrk
    }
}

impl Outcome {
    fn read(printed: &str) -> Result<Self> {
        Ok(Self {
            requests: figure(printed, "requests")?,
            failed: figure(printed, "failed")?,
            seconds: figure(printed, "seconds")?,
            p50_ms: figure(printed, "p50_ms")?,
            p99_ms: figure(printed, "p99_ms")?,
        })
    }

    pub fn per_second(&self) -> f64 {
        self.requests / self.seconds
    }
}

/// The median over rounds of what `of` takes from each.
pub fn over(rounds: &[Outcome], of: impl Fn(&Outcome) -> f64) -> f64 {
    median(rounds.iter().map(of).collect())
}

/// Load that goes on until it is ended.
pub struct Running(Child);

impl Running {
    /// What came of it so far; wrk ends in good order when it is interrupted.
    pub fn end(mut self) -> Result<Outcome> {
        let process = self.0.id().to_string();
        shell::run(shell::program("kill").args(["-s", "INT", &process]))?;
        let mut printed = String::new();
        if let Some(output) = &mut self.0.stdout {
            std::io::Read::read_to_string(output, &mut printed)?;
        }
        Outcome::read(&printed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
