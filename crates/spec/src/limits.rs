use std::time::Duration;

use crate::duration::Span;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::section::section;
use crate::spec::{Section, TableBuilder};

section! {
    /// What one caller may take up, so that the others are still answered.
    RawLimits at "serve.limits" {
        /// Texts in one request; more are refused with 422.
        texts: "count" = "(as many as may wait)",
        /// Length of one text in bytes; a longer one is refused with 413.
        text_bytes: "count" = "65536",
        /// Tokens of one text; a longer one is refused with 413 instead of being cut off.
        tokens: "count" = "(cut off at the model's length, and said so)",
        /// Requests a second for each token's name, or for each address where no tokens are asked for; more are refused with 429 and Retry-After.
        requests_per_second: "number" = "(no limit)",
        /// Requests that may come at once before that rate counts.
        burst: "count" = "(one second's requests)",
        /// Open connections; more are closed at once. Never more than the system's limit of open files leaves room for.
        connections: "count" = "10000",
        /// A connection on which no whole request head arrives for so long is closed.
        header_timeout: "duration" = "\"30s\"",
        /// Size of a request's head in bytes; a larger one is refused with 431.
        header_bytes: "count" = "16384",
    }
}

/// `serve.limits`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitsSpec {
    /// Texts in one request; none means the queue's length.
    pub texts: Option<usize>,
    /// Bytes of one text.
    pub text_bytes: usize,
    /// Tokens of one text; none means that it is cut off.
    pub tokens: Option<usize>,
    /// Requests a second of one caller; none means no limit.
    pub requests_per_second: Option<f64>,
    /// Requests of one caller at once; none means those of one second, but at least one.
    pub burst: Option<u32>,
    /// Open connections.
    pub connections: usize,
    /// Longest wait for a request's head.
    pub header_timeout: Span,
    /// Bytes of a request's head.
    pub header_bytes: usize,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            texts: None,
            text_bytes: 1 << 16,
            tokens: None,
            requests_per_second: None,
            burst: None,
            connections: 10_000,
            header_timeout: Span(Duration::from_secs(30)),
            header_bytes: 16_384,
        }
    }
}

impl Section for LimitsSpec {
    type Raw = RawLimits;

    fn check(raw: &RawLimits, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("serve.limits", problems);
        let default = Self::default();
        let most = u64::from(u32::MAX);
        Some(Self {
            texts: r.count("texts", &raw.texts, 1..=1_000_000).map(|texts| texts as usize),
            text_bytes: r
                .count("text_bytes", &raw.text_bytes, 1..=most)
                .map_or(default.text_bytes, |bytes| bytes as usize),
            tokens: r.count("tokens", &raw.tokens, 1..=most).map(|tokens| tokens as usize),
            requests_per_second: r.number("requests_per_second", &raw.requests_per_second, 0.001..=1e6),
            burst: r.count("burst", &raw.burst, 1..=1_000_000).map(|burst| burst as u32),
            connections: r
                .count("connections", &raw.connections, 1..=1_000_000)
                .map_or(default.connections, |count| count as usize),
            header_timeout: r.parsed("header_timeout", &raw.header_timeout).unwrap_or(default.header_timeout),
            header_bytes: r
                .count("header_bytes", &raw.header_bytes, 8192..=1 << 20)
                .map_or(default.header_bytes, |bytes| bytes as usize),
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .optional_value("texts", self.texts.map(|texts| texts as i64))
            .value("text_bytes", self.text_bytes as i64)
            .optional_value("tokens", self.tokens.map(|tokens| tokens as i64))
            .optional_value("requests_per_second", self.requests_per_second)
            .optional_value("burst", self.burst.map(i64::from))
            .value("connections", self.connections as i64)
            .text("header_timeout", self.header_timeout)
            .value("header_bytes", self.header_bytes as i64)
    }
}
