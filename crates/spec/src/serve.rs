use std::net::SocketAddr;
use std::path::PathBuf;

use crate::duration::Span;
use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::spec::{Section, TableBuilder};

section! {
    /// How it is served.
    RawServe at "serve" {
        /// Address and port.
        address: "address" = "\"127.0.0.1:8080\"",
        /// What computes: `"tract"` needs nothing installed, `"onnxruntime"` is faster, `"auto"` takes ONNX Runtime where it is found.
        engine: "`\"auto\"`, `\"tract\"` or `\"onnxruntime\"`" = "\"auto\"",
        /// The ONNX Runtime library.
        onnxruntime: "path" = "(found in refit's cache)",
        /// Single-threaded sessions side by side.
        sessions: "count" = "(one per core)",
        /// Requests that may wait; more are answered with 429 and Retry-After.
        queue: "count" = "256",
        /// Largest request body, in bytes.
        max_body_bytes: "count" = "1048576",
        /// A request that has waited longer is answered with 503.
        deadline: "duration" = "\"10s\"",
        /// How a new version takes over.
        canary: "table" = "(see below)",
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
    /// The ONNX Runtime library, if not the one in the cache; relative to `refit.toml`.
    pub onnxruntime: Option<PathBuf>,
    /// Sessions side by side; none means one per core.
    pub sessions: Option<usize>,
    /// Requests that may wait.
    pub queue: usize,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Longest wait of a request.
    pub deadline: Span,
    /// How a new version takes over.
    pub canary: CanarySpec,
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
        let mut r = Reader::new("serve", problems);
        let default = SocketAddr::from(([127, 0, 0, 1], 8080));
        let address = r.text("address", &raw.address).and_then(|text| match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let fix = "write an IP address and a port, such as \"0.0.0.0:8080\"";
                r.problem("address", raw.address.as_ref(), "not an address", fix);
                None
            }
        });
        Some(Self {
            address: address.unwrap_or(default),
            engine: r.parsed("engine", &raw.engine).unwrap_or(EngineChoice::Auto),
            onnxruntime: r.text("onnxruntime", &raw.onnxruntime).map(PathBuf::from),
            sessions: r.count("sessions", &raw.sessions, 1..=1024).map(|sessions| sessions as usize),
            queue: r.count("queue", &raw.queue, 1..=1_000_000).unwrap_or(256) as usize,
            max_body_bytes: r.count("max_body_bytes", &raw.max_body_bytes, 1024..=1 << 32).unwrap_or(1 << 20)
                as usize,
            deadline: r.parsed("deadline", &raw.deadline).unwrap_or(Span(std::time::Duration::from_secs(10))),
            canary: canary?,
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("address", self.address)
            .text("engine", self.engine)
            .optional("onnxruntime", self.onnxruntime.as_ref().map(|path| path.display()))
            .optional_value("sessions", self.sessions.map(|sessions| sessions as i64))
            .value("queue", self.queue as i64)
            .value("max_body_bytes", self.max_body_bytes as i64)
            .text("deadline", self.deadline)
            .section("canary", &self.canary)
    }
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
