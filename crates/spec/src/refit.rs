use std::net::SocketAddr;
use std::time::Duration;

use crate::duration::Span;
use crate::metric::Metric;
use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::spec::{Section, TableBuilder};
use crate::trigger::Trigger;

section! {
    /// When it is trained again, and what the result has to show.
    RawRefit at "refit" {
        /// Any of these: `"METRIC falls by more than 0.02"`, `"drift"`, `"every 30d"`, `"10000 new labels"`. An empty list never refits.
        when: "list of triggers" = "[\"accuracy falls by more than 0.02\"]",
        /// Where training starts: `"champion"` goes on from the model that serves, `"pretrained"` from the base.
        start: "`\"champion\"` or `\"pretrained\"`" = "\"champion\"",
        /// Passes over the rows of a refit that starts from the champion, which knows the older ones already.
        epochs: "count" = "(the `epochs` of train)",
        /// What the challenger has to show.
        gate: "table" = "(see below)",
        /// Labelled rows since the champion was trained without which no trigger fires.
        min_labels: "count" = "100",
        /// Time after one run before the next.
        cooldown: "duration" = "\"6h\"",
        /// Runs in 24 hours.
        max_runs_per_day: "count" = "4",
        /// How often the scheduler looks.
        poll: "duration" = "\"10s\"",
        /// Address of the scheduler's control API and console page.
        address: "address" = "\"127.0.0.1:8081\"",
        /// Address of a `refit trainer` on the same home that trains in place of a process of the scheduler's own, such as `"http://trainer:8082"`. Its token is read from the environment, `REFIT_TRAINER_TOKEN`.
        trainer: "url" = "(none)",
    }
}

section! {
    /// What the challenger has to show against the champion, on the same rows, by a paired exact test.
    RawGate at "refit.gate" {
        /// It may be this much worse, and no more.
        margin: "share" = "0.005",
        /// No slice may lose more than this.
        max_slice_drop: "share" = "0.02",
        /// The level of the tests.
        alpha: "share" = "0.05",
    }
}

/// Where a refit starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the model that serves.
    Champion,
    /// From the base.
    Pretrained,
}
words!(Start { Champion = "champion", Pretrained = "pretrained" });

/// `[refit]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RefitSpec {
    /// Any of these starts a run.
    pub when: Vec<Trigger>,
    /// Where training starts.
    pub start: Start,
    /// Passes over the rows when training starts from the champion.
    pub epochs: Option<usize>,
    /// What the challenger has to show.
    pub gate: GateSpec,
    /// Labelled rows without which no trigger fires.
    pub min_labels: u64,
    /// Time after one run before the next.
    pub cooldown: Span,
    /// Runs in 24 hours.
    pub max_runs_per_day: u32,
    /// How often the scheduler looks.
    pub poll: Span,
    /// Address of the control API and console page.
    pub address: SocketAddr,
    /// The trainer that is used in place of a process of the scheduler's own.
    pub trainer: Option<String>,
}

/// `refit.gate`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct GateSpec {
    /// It may be this much worse.
    pub margin: f64,
    /// No slice may lose more.
    pub max_slice_drop: f64,
    /// The level of the tests.
    pub alpha: f64,
}

impl Section for RefitSpec {
    type Raw = RawRefit;

    fn check(raw: &RawRefit, problems: &mut Vec<Problem>) -> Option<Self> {
        let gate = GateSpec::check(&RawGate::read(raw.gate.as_ref(), problems), problems);
        let mut r = Reader::new("refit", problems);
        let when = r.list("when", &raw.when, |r, key, item| r.parsed(key, item));
        let when = when.unwrap_or(vec![Trigger::MetricFalls { metric: Metric::Accuracy, margin: 0.02 }]);
        let address = r.text("address", &raw.address).and_then(|text| match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let fix = "write an IP address and a port, such as \"127.0.0.1:8081\"";
                r.problem("address", raw.address.as_ref(), "not an address", fix);
                None
            }
        });
        let trainer = r.text("trainer", &raw.trainer).filter(|url| {
            let is_url = url.starts_with("http://") || url.starts_with("https://");
            if !is_url {
                let fix = "write the address of a trainer, such as \"http://127.0.0.1:8082\"";
                r.problem("trainer", raw.trainer.as_ref(), "not an address", fix);
            }
            is_url
        });
        Some(Self {
            trainer,
            when,
            start: r.parsed("start", &raw.start).unwrap_or(Start::Champion),
            epochs: r.count("epochs", &raw.epochs, 1..=10_000).map(|epochs| epochs as usize),
            min_labels: r.count("min_labels", &raw.min_labels, 1..=u64::MAX).unwrap_or(100),
            cooldown: r.parsed("cooldown", &raw.cooldown).unwrap_or(Span(Duration::from_secs(6 * 3600))),
            max_runs_per_day: r.count("max_runs_per_day", &raw.max_runs_per_day, 1..=10_000).unwrap_or(4)
                as u32,
            poll: r.parsed("poll", &raw.poll).unwrap_or(Span(Duration::from_secs(10))),
            address: address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8081))),
            gate: gate?,
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .texts("when", &self.when)
            .text("start", self.start)
            .optional_value("epochs", self.epochs.map(|epochs| epochs as i64))
            .value("min_labels", self.min_labels as i64)
            .text("cooldown", self.cooldown)
            .value("max_runs_per_day", i64::from(self.max_runs_per_day))
            .text("poll", self.poll)
            .text("address", self.address)
            .optional("trainer", self.trainer.as_ref())
            .section("gate", &self.gate)
    }
}

impl Section for GateSpec {
    type Raw = RawGate;

    fn check(raw: &RawGate, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("refit.gate", problems);
        Some(Self {
            margin: r.number("margin", &raw.margin, 0.0..=1.0).unwrap_or(0.005),
            max_slice_drop: r.number("max_slice_drop", &raw.max_slice_drop, 0.0..=1.0).unwrap_or(0.02),
            alpha: r.number("alpha", &raw.alpha, 1e-9..=0.5).unwrap_or(0.05),
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .value("margin", self.margin)
            .value("max_slice_drop", self.max_slice_drop)
            .value("alpha", self.alpha)
    }
}
