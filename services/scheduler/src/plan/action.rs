//! What the planner asks for. The executor carries actions out one by one and makes no choice of its own.

use std::fmt;

/// One step. Every action can be carried out twice without harm.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Record an alarm that was not standing.
    RaiseAlarm {
        /// Stable key, by which it is cleared.
        key: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Record that an alarm no longer stands.
    ClearAlarm {
        /// Its key.
        key: String,
    },
    /// Record what the loop would do if it were allowed to.
    Suggest {
        /// Why.
        trigger: String,
    },
    /// Enter the phase `Training` with a new run.
    BeginRun {
        /// Its name.
        run: String,
        /// What started it.
        trigger: String,
    },
    /// Write the labelled rows into the run's folder and start `refit train`.
    LaunchTraining {
        /// The run.
        run: String,
        /// 1 for the first.
        attempt: u32,
    },
    /// Start `refit gate`.
    LaunchGate {
        /// The run.
        run: String,
        /// The challenger.
        version: String,
        /// 1 for the first.
        attempt: u32,
    },
    /// Go on with the next attempt of the same phase.
    Retry {
        /// The run.
        run: String,
        /// The attempt that comes now.
        attempt: u32,
        /// What the last one ended with.
        error: String,
    },
    /// Enter the phase `Gating`.
    BeginGate {
        /// The run.
        run: String,
        /// The challenger.
        version: String,
    },
    /// Give the challenger a share of the requests and enter (or go on in) the phase `Canary`.
    SetCanary {
        /// The run.
        run: String,
        /// The challenger.
        version: String,
        /// Index of the step.
        step: usize,
        /// Share of the requests in percent.
        percent: u8,
    },
    /// Make the challenger the champion and return to `Watching`.
    Promote {
        /// The run.
        run: String,
        /// The new champion.
        version: String,
    },
    /// Take the canary's requests away and return to `Watching`.
    RollBack {
        /// The run.
        run: String,
        /// The version taken back.
        version: String,
    },
    /// The challenger did not pass its gate: mark it and return to `Watching`.
    Reject {
        /// The run.
        run: String,
        /// The version refused.
        version: String,
    },
    /// End the run without a result and return to `Watching`.
    GiveUp {
        /// The run.
        run: String,
        /// Why.
        error: String,
    },
}

impl Action {
    /// A short stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LaunchTraining { .. } => "launch-training",
            Self::LaunchGate { .. } => "launch-gate",
            decision => decision.decision_kind().unwrap_or("nothing"),
        }
    }

    /// Every kind of decision that the loop makes.
    pub const DECISION_KINDS: [&'static str; 11] = [
        "alarm",
        "alarm-cleared",
        "suggest",
        "refit",
        "retry",
        "trained",
        "canary",
        "promote",
        "rollback",
        "reject",
        "give-up",
    ];

    /// The decision's kind in the store and the label of `refit_decisions_total`; `None` for a step that is no decision.
    pub fn decision_kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::RaiseAlarm { .. } => "alarm",
            Self::ClearAlarm { .. } => "alarm-cleared",
            Self::Suggest { .. } => "suggest",
            Self::BeginRun { .. } => "refit",
            Self::Retry { .. } => "retry",
            Self::BeginGate { .. } => "trained",
            Self::SetCanary { .. } => "canary",
            Self::Promote { .. } => "promote",
            Self::RollBack { .. } => "rollback",
            Self::Reject { .. } => "reject",
            Self::GiveUp { .. } => "give-up",
            Self::LaunchTraining { .. } | Self::LaunchGate { .. } => return None,
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RaiseAlarm { key, message } => write!(f, "raise alarm [{key}] {message}"),
            Self::ClearAlarm { key } => write!(f, "clear alarm [{key}]"),
            Self::Suggest { trigger } => write!(f, "suggest a refit: {trigger}"),
            Self::BeginRun { run, trigger } => write!(f, "begin run {run}: {trigger}"),
            Self::LaunchTraining { run, attempt } => write!(f, "launch training of {run}, attempt {attempt}"),
            Self::LaunchGate { run, version, attempt } => {
                write!(f, "launch the gate of {run} for version {version}, attempt {attempt}")
            }
            Self::Retry { run, attempt, error } => write!(f, "retry {run} as attempt {attempt}: {error}"),
            Self::BeginGate { run, version } => write!(f, "gate version {version} of {run}"),
            Self::SetCanary { run, version, step, percent } => {
                write!(f, "canary version {version} of {run}, step {}, {percent} % of requests", step + 1)
            }
            Self::Promote { run, version } => write!(f, "promote version {version} of {run}"),
            Self::RollBack { run, version } => write!(f, "roll back version {version} of {run}"),
            Self::Reject { run, version } => write!(f, "reject version {version} of {run}"),
            Self::GiveUp { run, error } => write!(f, "give up {run}: {error}"),
        }
    }
}
