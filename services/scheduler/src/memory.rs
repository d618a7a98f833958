//! What the loop of a model has to remember over restarts; one JSON value in the store, written by compare-and-swap.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::{History, Phase, Seconds};

/// Runs that were started earlier than this no longer count against `max_runs_per_day`.
const DAY: Seconds = 24 * 3600;

/// The loop's memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Where the loop stands.
    pub phase: PhaseRecord,
    /// Runs started ever.
    pub runs: u64,
    /// When the runs of the last day were started, seconds since 1970.
    pub starts: Vec<Seconds>,
    /// When the last run ended.
    pub last_end: Option<Seconds>,
    /// The suggestion that stands, in suggest-only mode.
    pub suggested: Option<String>,
    /// Alarms that stand, with the time at which they were raised.
    pub alarms: BTreeMap<String, Seconds>,
    /// Alarms raised, cleared and suggestions made ever: numbers the decisions that belong to no run.
    pub notes: u64,
    /// What the gate found a version's accuracy on recent rows to be; the live error rate is judged against it.
    pub baselines: BTreeMap<String, BaselineRecord>,
    /// The last feedback that a version's training may have seen.
    pub trained_through: BTreeMap<String, i64>,
    /// Who asked for a refit that has not begun.
    pub refit_requested_by: Option<String>,
}

/// How many rows a version got wrong when it was last measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineRecord {
    /// Wrong answers.
    pub errors: u64,
    /// Rows.
    pub rows: u64,
}

/// [`Phase`] as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are those of `Phase`")]
pub enum PhaseRecord {
    #[default]
    Watching,
    Training {
        run: String,
        attempt: u32,
    },
    Gating {
        run: String,
        version: String,
        attempt: u32,
    },
    Canary {
        run: String,
        version: String,
        step: usize,
    },
}

impl PhaseRecord {
    /// The value of the label `phase` of `refit_loop_phase`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Training { .. } => "training",
            Self::Gating { .. } => "gating",
            Self::Canary { .. } => "canary",
        }
    }

    /// All names.
    pub const NAMES: [&'static str; 4] = ["watching", "training", "gating", "canary"];

    /// As the planner knows it.
    pub fn to_phase(&self) -> Phase {
        match self.clone() {
            Self::Watching => Phase::Watching,
            Self::Training { run, attempt } => Phase::Training { run, attempt },
            Self::Gating { run, version, attempt } => Phase::Gating { run, version, attempt },
            Self::Canary { run, version, step } => Phase::Canary { run, version, step },
        }
    }
}

impl Memory {
    /// As the planner knows it.
    pub fn history(&self) -> History {
        History {
            runs: self.runs,
            starts: self.starts.clone(),
            last_end: self.last_end,
            suggested: self.suggested.clone(),
        }
    }

    /// A run begins.
    pub(crate) fn begin_run(&mut self, run: String, now: Seconds) {
        self.runs += 1;
        self.starts.retain(|start| now - start < DAY);
        self.starts.push(now);
        self.refit_requested_by = None;
        self.suggested = None;
        self.phase = PhaseRecord::Training { run, attempt: 1 };
    }

    /// The run that is under way ends, however it ends.
    pub(crate) fn end_run(&mut self, now: Seconds) {
        self.last_end = Some(now);
        self.phase = PhaseRecord::Watching;
    }
}
