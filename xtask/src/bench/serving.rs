//! Raw text over HTTP, asked by ApacheBench, against a bare loop of the same engine on the same tokens; what the
//! service needs in memory, and how soon it is ready.

use super::{Options, Row, figure, median};
use crate::shell;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Seconds of one measurement.
const SECONDS: &str = "6";
const THREADS: &str = "2";
/// Requests under way: enough to keep both sessions busy.
const CONCURRENCY: &str = "4";
/// What the process may need beside the model.
const ROOM_MB: f64 = 150.0;
const READY_SECONDS: f64 = 2.0;

pub fn run(options: &Options) -> Result<Vec<Row>> {
    if !shell::has("ab") {
        bail!("the service is asked by ApacheBench: install the package apache2-utils");
    }
    shell::run(shell::cargo().args(["build", "--quiet", "--workspace"]))?;
    shell::run(shell::cargo().args(["build", "--quiet", "--workspace", "--example", "throughput"]))?;
    let home = std::path::absolute(shell::root().join(&options.home))?;
    let mut rows = Vec::new();
    for engine in ["onnxruntime", "tract"] {
        rows.extend(measure(engine, &home, options.rounds)?);
    }
    Ok(rows)
}

fn measure(engine: &str, home: &Path, rounds: usize) -> Result<Vec<Row>> {
    let target = shell::root().join("target/debug");
    let service = Service::start(&target.join("refit"), home, engine)?;
    let artifact = home.join("artifacts/review-sentiment").join(service.version()?);
    let body = home.join("bench.json");
    let (mut ours, mut bare, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
    let mut model_mb = f64::NAN;
    for round in 0..rounds {
        eprintln!("{engine}: round {} of {rounds}", round + 1);
        let mut example = shell::program(target.join("examples/throughput"));
        example.arg("--artifact").arg(&artifact).args(["--engine", engine, "--threads", THREADS]);
        let output = shell::output(example.args(["--seconds", SECONDS]))?;
        bare.push(figure(&output, "bare_texts_per_second")?);
        model_mb = figure(&output, "model_mib")? * 1.048_576;
        std::fs::write(&body, serde_json::json!({ "text": text(&output)? }).to_string())?;
        ours.push(service.requests_per_second(&body)?);
        loaded.push(service.memory_mb()?);
    }
    let name = |what: &str| format!("raw text of 32 tokens, {engine} ({}): {what}", service.precision());
    Ok(vec![
        Row::at_least(name("texts/s over HTTP, against bare"), median(ours), median(bare), 0.9),
        Row::at_most(
            name("memory under load, MB, against the file + 150"),
            median(loaded),
            model_mb + ROOM_MB,
            1.0,
        ),
        Row::at_most(name("ready after start, s, against 2"), service.ready_seconds, READY_SECONDS, 1.0),
    ])
}

/// The text that the example measured with.
fn text(output: &str) -> Result<String> {
    let line = output.lines().rev().find(|line| line.starts_with('{')).context("no figures")?;
    let value: serde_json::Value = serde_json::from_str(line)?;
    Ok(value["text"].as_str().context("the example does not say which text it took")?.to_owned())
}

/// `refit serve` on a home, stopped when dropped.
struct Service {
    child: Child,
    address: String,
    log: PathBuf,
    ready_seconds: f64,
}

impl Service {
    fn start(refit: &Path, home: &Path, engine: &str) -> Result<Self> {
        let spec = std::fs::read_to_string(home.join("refit.toml")).with_context(|| {
            format!("{} is no home of a demo: `cargo run -- demo` makes one", home.display())
        })?;
        let address = "127.0.0.1:18380".to_owned();
        let serve =
            format!("[serve]\nengine = \"{engine}\"\naddress = \"{address}\"\nsessions = {THREADS}\n");
        let lines = spec.split("[serve]\n").collect::<Vec<_>>();
        let rest = lines.get(1).and_then(|rest| rest.split_once("\n\n")).map_or("", |(_, rest)| rest);
        let path = home.join("bench.toml");
        std::fs::write(&path, format!("{}{serve}\n{rest}", lines[0]))?;
        let log = home.join("bench.log");
        let file = std::fs::File::create(&log)?;
        let started = Instant::now();
        let child = shell::program(refit)
            .arg("serve")
            .arg(&path)
            .arg("--home")
            .arg(home)
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()?;
        let mut service = Self { child, address, log, ready_seconds: f64::NAN };
        let url = format!("http://{}/v2/health/ready", service.address);
        while !shell::program("curl").args(["-sf", "-o", "/dev/null", &url]).status()?.success() {
            if started.elapsed() > Duration::from_secs(30) || service.child.try_wait()?.is_some() {
                bail!("the service is not ready: see {}", service.log.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        service.ready_seconds = started.elapsed().as_secs_f64();
        Ok(service)
    }

    fn requests_per_second(&self, body: &Path) -> Result<f64> {
        let url = format!("http://{}/v1/models/review-sentiment:predict", self.address);
        let mut ab = shell::program("ab");
        ab.args(["-q", "-l", "-k", "-c", CONCURRENCY, "-t", SECONDS, "-n", "10000000", "-p"]).arg(body);
        let said = shell::output(ab.args(["-T", "application/json", &url]))?;
        let figure = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
        };
        if figure("Failed requests:") != Some(0.0) || figure("Non-2xx responses:").is_some() {
            bail!("requests failed:\n{said}");
        }
        figure("Requests per second:").context("ab gives no rate")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn memory_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
    }

    /// The version that it said it serves.
    fn version(&self) -> Result<String> {
        let log = self.log();
        let line =
            log.lines().find(|line| line.contains("role=\"champion\"")).context("no champion in the log")?;
        let version = line.split_once("version=\"").and_then(|(_, rest)| rest.split('"').next());
        version.map(str::to_owned).context("no version in the log")
    }

    /// The precision that it said it serves.
    fn precision(&self) -> &'static str {
        let log = self.log();
        if log.contains("precision=\"int8\"") { "int8" } else { "float32" }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
