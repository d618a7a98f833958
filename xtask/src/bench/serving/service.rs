//! `refit serve`.

use super::home::{Home, MODEL};
use super::load::Target;
use super::process::Process;
use super::{Bench, http};
use crate::shell;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const READY: &str = "/v2/health/ready";

/// A service that is ready, stopped when dropped.
pub struct Service {
    process: Process,
    address: String,
    pub ready_seconds: f64,
}

impl Service {
    /// Serves a home whose store is as it was at first; `settings` are more lines of `[serve]`.
    pub fn start(bench: &Bench, home: &Home, port: u16, settings: &str) -> Result<Self> {
        Self::of_binary(&bench.service, home, port, settings)
    }

    /// The same with another binary.
    pub fn of_binary(refit: &Path, home: &Home, port: u16, settings: &str) -> Result<Self> {
        home.restore()?;
        let address = format!("127.0.0.1:{port}");
        let spec = home.serve_spec(&format!("address = \"{address}\"\n{settings}"))?;
        let mut command = shell::program(refit);
        command.arg("serve").arg(spec);
        Self::of_command(&mut command, home, address)
    }

    /// Serves the first version alone, without a store: nothing is recorded.
    pub fn of_artifact(bench: &Bench, home: &Home, port: u16) -> Result<Self> {
        let address = format!("127.0.0.1:{port}");
        let mut command = shell::program(&bench.service);
        command.arg("serve").arg("--artifact").arg(home.artifact("1")).args(["--address", &address]);
        Self::of_command(&mut command, home, address)
    }

    fn of_command(command: &mut Command, home: &Home, address: String) -> Result<Self> {
        let started = Instant::now();
        let log = home.log(&format!("refit-{}", address.rsplit(':').next().unwrap_or_default()));
        let mut process = Process::start(command, &address, &log)?;
        process.until(PATIENCE, || http::get(&address, READY).is_ok()).context("refit serve")?;
        Ok(Self { process, address, ready_seconds: started.elapsed().as_secs_f64() })
    }

    pub fn memory_mb(&self) -> Result<f64> {
        self.process.memory_mb()
    }

    /// Where the load goes: inference requests of the Open Inference Protocol.
    pub fn target(&self, home: &Home) -> Result<Target> {
        Ok(Target {
            url: format!("http://{}{INFER}", self.address),
            bodies: home.bodies("protocol-v2", infer_body)?,
        })
    }

    /// The logits of a text.
    pub fn logits(&self, text: &str) -> Result<Vec<f64>> {
        let answer = http::post(&self.address, INFER, &infer_body(text).to_string())?;
        infer_logits(&serde_json::from_str(&answer)?).context("refit answers no logits")
    }

    /// Loads what was promoted last, at once; a request of the protocol's repository extension.
    pub fn load(&self) -> Result<()> {
        http::post(&self.address, &format!("/v2/repository/models/{MODEL}/load"), "{}").map(|_| ())
    }

    /// The value of a series on /metrics, given as it is written.
    pub fn metric(&self, series: &str) -> Result<f64> {
        let text = http::get(&self.address, "/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.with_context(|| format!("there is no {series} on /metrics"))
    }
}

/// Where the model is asked in the Open Inference Protocol.
pub const INFER: &str = "/v2/models/bench/infer";

/// A text as the protocol has it, in a batch of one; every server that speaks it takes this.
pub fn infer_body(text: &str) -> Value {
    let input = json!({ "name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text] });
    json!({ "inputs": [input], "outputs": [{ "name": "logits" }] })
}

/// The logits in an answer of the protocol.
pub fn infer_logits(answer: &Value) -> Option<Vec<f64>> {
    answer["outputs"][0]["data"].as_array()?.iter().map(Value::as_f64).collect()
}
