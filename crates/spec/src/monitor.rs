use std::time::Duration;

use crate::budget::FalseAlarmBudget;
use crate::duration::Span;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::section::section;
use crate::spec::{Section, TableBuilder};

section! {
    /// What is watched, and how many false alarms that may cost.
    RawMonitor at "monitor" {
        /// Whether inputs and answers are distributed as in training.
        drift: "table" = "(see below)",
        /// Whether answers are as good as on the test rows, judged by the labels that come in.
        performance: "table" = "(see below)",
    }
}

section! {
    /// Whether inputs and answers are distributed as in training: a test of the population stability index, corrected for the number of rows and of features.
    RawDrift at "monitor.drift" {
        /// The requests of this long are compared with the training rows, then the next.
        window: "duration" = "\"1h\"",
        /// False alarms to live with; the level of each window's test follows from it.
        budget: "`\"N false alarms a PERIOD\"`; hour, day, week, month or year" = "\"1 false alarm a month\"",
        /// The smallest index that counts as drift, however sure one is of it.
        min_psi: "number" = "0.1",
        /// Windows with fewer rows are not judged.
        min_rows: "count" = "100",
    }
}

section! {
    /// Whether answers are as good as on the test rows: a sequential test, valid at every look.
    RawPerformance at "monitor.performance" {
        /// Probability that a model which is as good as it was is ever called worse.
        budget: "share" = "0.01",
    }
}

/// `[monitor]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorSpec {
    /// Distributions.
    pub drift: DriftSpec,
    /// Live accuracy.
    pub performance: PerformanceSpec,
}

/// `monitor.drift`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftSpec {
    /// How long requests are collected for one comparison.
    pub window: Span,
    /// False alarms to live with.
    pub budget: FalseAlarmBudget,
    /// The smallest index that counts as drift.
    pub min_psi: f64,
    /// Rows below which a window is not judged.
    pub min_rows: u64,
}

impl DriftSpec {
    /// The level of one window's test over all features.
    pub fn alpha(&self) -> f64 {
        self.budget.alpha(self.window.0)
    }
}

/// `monitor.performance`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct PerformanceSpec {
    /// Probability of ever raising a false alarm.
    pub budget: f64,
}

impl Section for MonitorSpec {
    type Raw = RawMonitor;

    fn check(raw: &RawMonitor, problems: &mut Vec<Problem>) -> Option<Self> {
        let drift = RawDrift::read(raw.drift.as_ref(), problems);
        let performance = RawPerformance::read(raw.performance.as_ref(), problems);
        let drift = DriftSpec::check(&drift, problems);
        let performance = PerformanceSpec::check(&performance, problems);
        Some(Self { drift: drift?, performance: performance? })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default().section("drift", &self.drift).section("performance", &self.performance)
    }
}

impl Section for DriftSpec {
    type Raw = RawDrift;

    fn check(raw: &RawDrift, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("monitor.drift", problems);
        let month = FalseAlarmBudget { alarms: 1, unit: "month".into() };
        Some(Self {
            window: r.parsed("window", &raw.window).unwrap_or(Span(Duration::from_secs(3600))),
            budget: r.parsed("budget", &raw.budget).unwrap_or(month),
            min_psi: r.number("min_psi", &raw.min_psi, 0.0..=100.0).unwrap_or(0.1),
            min_rows: r.count("min_rows", &raw.min_rows, 1..=u64::MAX).unwrap_or(100),
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("window", self.window)
            .text("budget", &self.budget)
            .value("min_psi", self.min_psi)
            .value("min_rows", self.min_rows as i64)
    }
}

impl Section for PerformanceSpec {
    type Raw = RawPerformance;

    fn check(raw: &RawPerformance, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("monitor.performance", problems);
        Some(Self { budget: r.number("budget", &raw.budget, 1e-9..=0.5).unwrap_or(0.01) })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default().value("budget", self.budget)
    }
}
