use std::net::SocketAddr;
use std::path::PathBuf;

use crate::duration::Span;
use crate::limits::{LimitsSpec, RawLimits};
use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::sampling::{RawSampling, SamplingSpec};
use crate::section::section;
use crate::spec::{Section, TableBuilder};
use crate::train::DeviceChoice;
use crate::transport::{TelemetrySpec, TlsSpec};
use crate::written::Written;

section! {
    /// How it is served.
    RawServe at "serve" {
        /// Address and port.
        address: "address" = "\"127.0.0.1:8080\"",
        /// What computes: `"tract"` needs nothing installed, `"onnxruntime"` is faster, `"auto"` takes ONNX Runtime where it is found.
        engine: "`\"auto\"`, `\"tract\"` or `\"onnxruntime\"`" = "\"auto\"",
        /// What ONNX Runtime computes on: `"cuda"` is the first GPU, for which `refit engine install onnxruntime --device cuda` fetches a build, or no start; `"auto"` takes the GPU where the library found is built for one and can use it. A GPU serves float32 (or float16), not int8.
        device: "`\"auto\"`, `\"cpu\"` or `\"cuda\"`" = "\"auto\"",
        /// The ONNX Runtime library.
        onnxruntime: "path" = "(found in refit's cache)",
        /// Single-threaded sessions side by side. On a machine with several NUMA nodes they are spread over the nodes, each of which holds the weights.
        sessions: "count" = "(one per core; 2 on a GPU)",
        /// Sessions that one model may use at a time, where several are served.
        sessions_per_model: "count" = "(all)",
        /// Texts of a model that may wait; more are answered with 429 and Retry-After.
        queue: "count" = "256",
        /// What 99 of 100 requests shall take at most: none is made later than this by sharing a run with others.
        p99: "duration" = "(the deadline)",
        /// Memory that all models together may hold, in bytes: those not asked for the longest time give way, and are loaded again when they are asked for. The model of this file never does.
        memory_budget: "count" = "(no limit)",
        /// Memory for answers that are given again when the same text is asked again, in bytes; 0 keeps none.
        cache_bytes: "count" = "0",
        /// Whether concurrent requests for the same text share one computation.
        coalesce: "boolean" = "false",
        /// Largest request body, in bytes.
        max_body_bytes: "count" = "1048576",
        /// A request that has waited longer is answered with 503.
        deadline: "duration" = "\"10s\"",
        /// A file of tokens, one a line as `refit token` prints it, of which every caller has to show one; read again when it changes.
        tokens: "path" = "(nobody is asked)",
        /// A second address that answers health and metrics only, without TLS and without tokens: for probes, Prometheus and the scheduler.
        monitoring: "address" = "(none)",
        /// Whether the log holds what was asked and answered.
        log_payloads: "boolean" = "false",
        /// How a new version takes over.
        canary: "table" = "(see below)",
        /// What one caller may take up.
        limits: "table" = "(see below)",
        /// TLS.
        tls: "table" = "(none: plain HTTP)",
        /// Which texts are kept for training.
        sampling: "table" = "(see below)",
        /// Where spans of requests are sent.
        telemetry: "table" = "(none)",
    }
}

section! {
    /// How a new version takes over.
    RawCanary at "serve.canary" {
        /// Percent of the requests that it gets, step by step; the last is 100.
        steps: "list of percents" = "[5, 25, 100]",
        /// Requests that it has to answer before the next step.
        min_requests: "count" = "500",
    }
}

/// What computes the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// ONNX Runtime where it is found, tract otherwise.
    Auto,
    /// tract.
    Tract,
    /// ONNX Runtime.
    OnnxRuntime,
}
words!(EngineChoice { Auto = "auto", Tract = "tract", OnnxRuntime = "onnxruntime" });

/// `[serve]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ServeSpec {
    /// Address and port.
    pub address: SocketAddr,
    /// What computes the answers.
    pub engine: EngineChoice,
    /// What ONNX Runtime computes on.
    pub device: DeviceChoice,
    /// The ONNX Runtime library, if not the one in the cache; relative to `refit.toml`.
    pub onnxruntime: Option<PathBuf>,
    /// Sessions side by side; none means one per core, or 2 on a GPU.
    pub sessions: Option<usize>,
    /// Sessions of one model at a time; none means all.
    pub sessions_per_model: Option<usize>,
    /// Texts of a model that may wait.
    pub queue: usize,
    /// What 99 of 100 requests shall take at most; none means the deadline.
    pub p99: Option<Span>,
    /// Bytes that all models together may hold; none means no limit.
    pub memory_budget: Option<u64>,
    /// Bytes of answers that are kept.
    pub cache_bytes: u64,
    /// Whether concurrent requests for the same text share one computation.
    pub coalesce: bool,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Longest wait of a request.
    pub deadline: Span,
    /// The file of tokens; relative to `refit.toml`. None means that nobody is asked.
    pub tokens: Option<PathBuf>,
    /// Where health and metrics are answered too, in the open.
    pub monitoring: Option<SocketAddr>,
    /// Whether the log holds texts and answers.
    pub log_payloads: bool,
    /// How a new version takes over.
    pub canary: CanarySpec,
    /// What one caller may take up.
    pub limits: LimitsSpec,
    /// TLS, if connections are to be encrypted.
    pub tls: Option<TlsSpec>,
    /// Which texts are kept.
    pub sampling: SamplingSpec,
    /// Where spans go.
    pub telemetry: Option<TelemetrySpec>,
}

/// `serve.canary`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CanarySpec {
    /// Rising percents, the last of them 100.
    pub steps: Vec<u8>,
    /// Requests before the next step.
    pub min_requests: u64,
}

impl Section for ServeSpec {
    type Raw = RawServe;

    fn check(raw: &RawServe, problems: &mut Vec<Problem>) -> Option<Self> {
        let canary = CanarySpec::check(&RawCanary::read(raw.canary.as_ref(), problems), problems);
        let limits = LimitsSpec::check(&RawLimits::read(raw.limits.as_ref(), problems), problems);
        let sampling = SamplingSpec::check(&RawSampling::read(raw.sampling.as_ref(), problems), problems);
        let tls = TlsSpec::read(raw.tls.as_ref(), problems);
        let telemetry = TelemetrySpec::read(raw.telemetry.as_ref(), problems);
        let mut r = Reader::new("serve", problems);
        let default = SocketAddr::from(([127, 0, 0, 1], 8080));
        let address = socket_address(&mut r, "address", &raw.address);
        let engine = r.parsed("engine", &raw.engine).unwrap_or(EngineChoice::Auto);
        let device = r.parsed("device", &raw.device).unwrap_or(DeviceChoice::Auto);
        if (engine, device) == (EngineChoice::Tract, DeviceChoice::Cuda) {
            let fix = "leave out `device`, or write engine = \"onnxruntime\"";
            r.problem("device", raw.device.as_ref(), "tract computes on the processor alone", fix);
        }
        Some(Self {
            address: address.unwrap_or(default),
            engine,
            device,
            onnxruntime: r.text("onnxruntime", &raw.onnxruntime).map(PathBuf::from),
            sessions: r.count("sessions", &raw.sessions, 1..=1024).map(|sessions| sessions as usize),
            sessions_per_model: r
                .count("sessions_per_model", &raw.sessions_per_model, 1..=1024)
                .map(|sessions| sessions as usize),
            memory_budget: r.count("memory_budget", &raw.memory_budget, 1 << 20..=1 << 48),
            cache_bytes: r.count("cache_bytes", &raw.cache_bytes, 0..=1 << 40).unwrap_or(0),
            coalesce: r.boolean("coalesce", &raw.coalesce, false),
            p99: r.parsed("p99", &raw.p99),
            queue: r.count("queue", &raw.queue, 1..=1_000_000).unwrap_or(256) as usize,
            max_body_bytes: r.count("max_body_bytes", &raw.max_body_bytes, 1024..=1 << 32).unwrap_or(1 << 20)
                as usize,
            deadline: r.parsed("deadline", &raw.deadline).unwrap_or(Span(std::time::Duration::from_secs(10))),
            tokens: r.text("tokens", &raw.tokens).map(PathBuf::from),
            monitoring: socket_address(&mut r, "monitoring", &raw.monitoring),
            log_payloads: r.boolean("log_payloads", &raw.log_payloads, false),
            canary: canary?,
            limits: limits?,
            tls,
            sampling: sampling?,
            telemetry,
        })
    }

    fn table(&self) -> TableBuilder {
        let table = TableBuilder::default()
            .text("address", self.address)
            .text("engine", self.engine)
            .text("device", self.device)
            .optional("onnxruntime", self.onnxruntime.as_ref().map(|path| path.display()))
            .optional_value("sessions", self.sessions.map(|sessions| sessions as i64))
            .optional_value("sessions_per_model", self.sessions_per_model.map(|sessions| sessions as i64))
            .value("queue", self.queue as i64)
            .optional("p99", self.p99)
            .optional_value("memory_budget", self.memory_budget.map(|bytes| bytes as i64))
            .value("cache_bytes", self.cache_bytes as i64)
            .value("coalesce", self.coalesce)
            .value("max_body_bytes", self.max_body_bytes as i64)
            .text("deadline", self.deadline)
            .optional("tokens", self.tokens.as_ref().map(|path| path.display()))
            .optional("monitoring", self.monitoring)
            .value("log_payloads", self.log_payloads)
            .section("canary", &self.canary)
            .section("limits", &self.limits)
            .section("sampling", &self.sampling);
        let table = match &self.tls {
            Some(tls) => table.section("tls", tls),
            None => table,
        };
        match &self.telemetry {
            Some(telemetry) => table.section("telemetry", telemetry),
            None => table,
        }
    }
}

/// An IP address with a port.
fn socket_address(r: &mut Reader<'_>, key: &str, written: &Option<Written>) -> Option<SocketAddr> {
    let address = r.text(key, written)?.parse().ok();
    if address.is_none() {
        let fix = "write an IP address and a port, such as \"0.0.0.0:8080\"";
        r.problem(key, written.as_ref(), "not an address", fix);
    }
    address
}

impl Section for CanarySpec {
    type Raw = RawCanary;

    fn check(raw: &RawCanary, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("serve.canary", problems);
        let steps = r.list("steps", &raw.steps, |r, key, item| r.count(key, item, 1..=100));
        let steps: Vec<u8> = steps.map_or(vec![5, 25, 100], |steps| steps.iter().map(|&s| s as u8).collect());
        if !steps.is_sorted_by(|a, b| a < b) || steps.last() != Some(&100) {
            let fix = "write rising percents that end with 100, such as [5, 25, 100]";
            r.problem("steps", raw.steps.as_ref(), "not a way up to all requests", fix);
        }
        let min_requests = r.count("min_requests", &raw.min_requests, 1..=u64::MAX).unwrap_or(500);
        Some(Self { steps, min_requests })
    }

    fn table(&self) -> TableBuilder {
        let steps: Vec<i64> = self.steps.iter().map(|&step| step.into()).collect();
        TableBuilder::default().value("steps", steps).value("min_requests", self.min_requests as i64)
    }
}
