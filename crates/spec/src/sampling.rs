use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::spec::{Section, TableBuilder};
use crate::transport::is_plain_http;

section! {
    /// Which texts are kept for training. Every answer is recorded, so that labels find theirs and live accuracy is that of all; a text that is not kept is recorded as empty and is no row of a refit.
    RawSampling at "serve.sampling" {
        /// Share of the texts that is kept whatever the answer.
        share: "share" = "1.0",
        /// Texts whose answer is less sure than this are kept all.
        below_confidence: "number" = "0.0",
        /// Whether all texts are kept while the window of the latest ones has drifted.
        drifted: "boolean" = "true",
        /// Bytes on disk for what waits while the store is away; more is dropped and counted.
        spool_bytes: "count" = "268435456",
        /// Where kept texts are also sent, each as a CloudEvent over HTTP.
        events: "address" = "(nowhere)",
        /// `"structured"` puts all of an event into its body, `"binary"` its attributes into headers.
        events_mode: "`\"structured\"` or `\"binary\"`" = "\"structured\"",
    }
}

/// How a CloudEvent is written into an HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsMode {
    /// One JSON object.
    Structured,
    /// Attributes are headers, the body is the data.
    Binary,
}
words!(EventsMode { Structured = "structured", Binary = "binary" });

/// `serve.sampling`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingSpec {
    /// Share of the texts that is kept whatever the answer.
    pub share: f64,
    /// Texts of less sure answers are kept all.
    pub below_confidence: f64,
    /// Whether all are kept while drifted.
    pub drifted: bool,
    /// Bytes on disk for what waits.
    pub spool_bytes: u64,
    /// Where events go.
    pub events: Option<String>,
    /// How they are written.
    pub events_mode: EventsMode,
}

impl Default for SamplingSpec {
    fn default() -> Self {
        Self {
            share: 1.0,
            below_confidence: 0.0,
            drifted: true,
            spool_bytes: 256 << 20,
            events: None,
            events_mode: EventsMode::Structured,
        }
    }
}

impl Section for SamplingSpec {
    type Raw = RawSampling;

    fn check(raw: &RawSampling, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("serve.sampling", problems);
        let default = Self::default();
        let events = r.text("events", &raw.events);
        if events.as_ref().is_some_and(|events| !is_plain_http(events)) {
            let fix = "write an address that begins with http://; for TLS send to a proxy beside the service";
            r.problem("events", raw.events.as_ref(), "not an HTTP address", fix);
        }
        Some(Self {
            share: r.number("share", &raw.share, 0.0..=1.0).unwrap_or(default.share),
            below_confidence: r
                .number("below_confidence", &raw.below_confidence, 0.0..=1.0)
                .unwrap_or(default.below_confidence),
            drifted: r.boolean("drifted", &raw.drifted, default.drifted),
            spool_bytes: r.count("spool_bytes", &raw.spool_bytes, 0..=1 << 40).unwrap_or(default.spool_bytes),
            events,
            events_mode: r.parsed("events_mode", &raw.events_mode).unwrap_or(default.events_mode),
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .value("share", self.share)
            .value("below_confidence", self.below_confidence)
            .value("drifted", self.drifted)
            .value("spool_bytes", self.spool_bytes as i64)
            .optional("events", self.events.as_ref())
            .text("events_mode", self.events_mode)
    }
}
