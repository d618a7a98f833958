use crate::duration::Span;
use crate::problem::Problem;
use crate::reader::Reader;
use crate::section::section;
use crate::spec::{Section, TableBuilder};
use std::time::Duration;

section! {
    /// When the state of a run is kept on disk: a run that was killed, or stopped by a signal, goes on from there with the same result, bit for bit.
    RawCheckpoint at "train.checkpoint" {
        /// Time after which the next step's state is kept.
        every: "duration" = "\"5m\"",
        /// Steps after which it is kept too.
        steps: "count" = "(none)",
        /// How many are kept: the last one may turn out unreadable. 0 keeps none.
        keep: "count" = "2",
    }
}

/// `train.checkpoint`, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckpointSpec {
    /// Longest time between two checkpoints.
    pub every: Span,
    /// Most steps between two checkpoints.
    pub steps: Option<usize>,
    /// How many are kept.
    pub keep: usize,
}

impl Section for CheckpointSpec {
    type Raw = RawCheckpoint;

    fn check(raw: &RawCheckpoint, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("train.checkpoint", problems);
        Some(Self {
            every: r.parsed("every", &raw.every).unwrap_or(Span(Duration::from_secs(300))),
            steps: r.count("steps", &raw.steps, 1..=1_000_000_000).map(|steps| steps as usize),
            keep: r.count("keep", &raw.keep, 0..=1000).unwrap_or(2) as usize,
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default()
            .text("every", self.every)
            .optional_value("steps", self.steps.map(|steps| steps as i64))
            .value("keep", self.keep as i64)
    }
}
