//! The bare loop: the engine's own library, tokenization included, on the same texts.

use super::SECONDS;
use super::home::{Home, MAX_LENGTH};
use crate::bench::figure;
use crate::shell;
use anyhow::Result;
use std::path::Path;

/// How the loop runs.
pub struct Loop<'a> {
    pub engine: &'a str,
    pub model: &'a Path,
    /// Sessions side by side, and threads of each.
    pub sessions: usize,
    pub session_threads: usize,
}

/// What it reached.
pub struct Reached {
    pub per_second: f64,
    pub p50_ms: f64,
}

impl Loop<'_> {
    pub fn run(&self, home: &Home) -> Result<Reached> {
        let mut example = shell::program(shell::target().join("release/examples/throughput"));
        example.args(["--engine", self.engine]).arg("--model").arg(self.model);
        example.arg("--tokenizer").arg(home.artifact("1").join("tokenizer.json"));
        example.arg("--texts").arg(&home.texts).args(["--max-length", &MAX_LENGTH.to_string()]);
        example.args(["--threads", &self.sessions.to_string()]);
        example.args(["--session-threads", &self.session_threads.to_string()]);
        // Half of the time is the other loop's of the example.
        let output = shell::output(example.args(["--seconds", &(2 * SECONDS).to_string()]))?;
        Ok(Reached {
            per_second: figure(&output, "bare_texts_per_second")?,
            p50_ms: figure(&output, "bare_p50_ms")?,
        })
    }
}
