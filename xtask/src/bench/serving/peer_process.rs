//! A peer's environment, and its process.

use super::home::{Home, MAX_LENGTH};
use super::http;
use super::load::Target;
use super::peer_list::{Peer, Tuning};
use super::process::Process;
use crate::shell;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// A peer that is ready.
pub struct PeerProcess {
    pub target: Target,
    address: String,
    _process: Process,
}

impl PeerProcess {
    pub fn start(peer: &Peer, home: &Home, port: u16, tuning: Tuning) -> Result<Self> {
        let mut command = command(peer, port)?;
        command.env("PEER_MODEL", home.model("1")?);
        command.env("PEER_TOKENIZER", home.artifact("1").join("tokenizer.json"));
        for (name, value) in settings(port, tuning) {
            command.env(name, value);
        }
        let log = home.log(peer.name);
        let address = format!("127.0.0.1:{port}");
        let mut process = Process::start(&mut command, &address, &log)?;
        process.until(PATIENCE, || http::get(&address, peer.ready).is_ok())?;
        let bodies = home.bodies(peer.name, peer.body)?;
        let target = Target { url: format!("http://{address}{}", peer.path), bodies };
        Ok(Self { target, address, _process: process })
    }

    /// The logits of a text.
    pub fn logits(&self, peer: &Peer, text: &str) -> Result<Vec<f64>> {
        let answer = http::post(&self.address, peer.path, &(peer.body)(text).to_string())?;
        let logits = (peer.logits)(&serde_json::from_str(&answer)?);
        logits.with_context(|| format!("{} answers no logits: {answer}", peer.name))
    }
}

fn command(peer: &Peer, port: u16) -> Result<Command> {
    let programs = environment(peer)?.join("bin");
    let folder = shell::root().join("xtask/bench/peers");
    let (program, arguments) = peer.command.split_first().context("a peer has a command")?;
    let mut command = shell::program(programs.join(program));
    command.args(arguments.iter().map(|argument| argument.replace("{port}", &port.to_string())));
    let path = std::env::var("PATH").unwrap_or_default();
    command.current_dir(&folder).env("PATH", format!("{}:{path}", programs.display()));
    command.env("PYTHONPATH", &folder).env("PYTHONDONTWRITEBYTECODE", "1");
    // The cores belong to the workers; threads of the tokenizer would only be in their way.
    command.env("TOKENIZERS_PARALLELISM", "false");
    Ok(command)
}

/// MLServer has no script of its own in which its settings could stand.
fn settings(port: u16, tuning: Tuning) -> Vec<(String, String)> {
    let Tuning { workers, threads, batch, delay_ms } = tuning;
    let ours = [
        ("PORT", port.into()),
        ("MAX_LENGTH", MAX_LENGTH),
        ("WORKERS", workers),
        ("THREADS", threads),
        ("BATCH", batch),
        ("DELAY_MS", delay_ms),
    ];
    let of_mlserver = [
        ("HOST", "127.0.0.1".to_owned()),
        ("HTTP_PORT", port.to_string()),
        ("GRPC_PORT", (port + 1).to_string()),
        ("METRICS_PORT", (port + 2).to_string()),
        // A single worker is the server itself.
        ("PARALLEL_WORKERS", if workers > 1 { workers } else { 0 }.to_string()),
        ("MODEL_MAX_BATCH_SIZE", if batch > 1 { batch } else { 0 }.to_string()),
        ("MODEL_MAX_BATCH_TIME", (delay_ms as f64 / 1e3).to_string()),
    ];
    let ours = ours.map(|(name, value)| (format!("PEER_{name}"), value.to_string()));
    ours.into_iter().chain(of_mlserver.map(|(name, value)| (format!("MLSERVER_{name}"), value))).collect()
}

/// The peer's own environment, made where there is none with these packages.
fn environment(peer: &Peer) -> Result<PathBuf> {
    let folder = shell::root().join(".venv-peers").join(peer.name.to_lowercase());
    let (installed, wanted) = (folder.join("installed.txt"), peer.packages.join("\n"));
    if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    shell::run(shell::program("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = shell::program(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(peer.packages);
    shell::run(&mut pip)?;
    std::fs::write(installed, wanted)?;
    Ok(folder)
}
