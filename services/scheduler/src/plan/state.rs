//! What the planner knows: one model's observed state. Plain values; times are seconds since 1970 and come from the
//! observer, so that a plan can be replayed.

/// Seconds since 1970-01-01 UTC.
pub type Seconds = i64;

/// Everything a decision about one model depends on.
#[derive(Clone, Debug)]
pub struct State {
    /// The model's name.
    pub model: String,
    /// When this was observed.
    pub now: Seconds,
    /// What the model's owner allows.
    pub policy: Policy,
    /// Where the loop stands.
    pub phase: Phase,
    /// What serves now; `None` before the first version is promoted.
    pub champion: Option<Champion>,
    /// The version on canary according to the store, with its share of the requests in percent.
    pub deployed_canary: Option<(String, u8)>,
    /// The sequential test of the champion's live error rate.
    pub judge: Judge,
    /// The last complete drift window.
    pub drift: Drift,
    /// Labelled rows that arrived since the rows which the champion was trained on.
    pub new_labels: u64,
    /// Labels in feedback that the champion cannot answer, with their number of rows.
    pub unseen_labels: Vec<(String, u64)>,
    /// Observations that should be there and are not.
    pub missing: Vec<Missing>,
    /// What the loop did before.
    pub history: History,
    /// Alarms that stand, by key.
    pub standing_alarms: Vec<String>,
    /// What the child process of the phase `Training` or `Gating` is doing.
    pub child: Child,
    /// What was seen of the canary; only in the phase `Canary`.
    pub canary: Option<CanaryReport>,
    /// An operator asked for a refit; the name of who asked.
    pub refit_requested_by: Option<String>,
}

/// What the owner of the model allows, from its `refit.toml`.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Act, or only say what one would do.
    pub mode: Mode,
    /// Any of these starts a refit.
    pub triggers: Vec<Trigger>,
    /// A refit needs this many new labelled rows (not asked of `Trigger::Every`, whose source may have grown).
    pub min_new_labels: u64,
    /// No refit sooner than this after the last one ended.
    pub cooldown: Seconds,
    /// No more refits than this in 24 hours.
    pub max_runs_per_day: u32,
    /// A child process that fails is started again until it had this many attempts.
    pub max_attempts: u32,
    /// Shares of the requests, in percent, that a canary gets one after the other.
    pub canary_steps: Vec<u8>,
    /// A canary's step lasts at least this many of its own requests.
    pub canary_min_requests: u64,
    /// A canary whose 95th percentile of latency is more than this many times the champion's is worse.
    pub canary_max_latency_ratio: f64,
    /// How long an observation may be missing before it raises an alarm.
    pub missing_grace: Seconds,
}

/// Whether the loop acts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Trains, gates and promotes.
    Act,
    /// Records what it would do; an operator's request is still carried out.
    Suggest,
}

/// What starts a refit.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// The metric fell by more than `margin` below its baseline (judged by the sequential test).
    Degradation {
        /// The name written in the spec.
        metric: String,
        /// Allowed fall.
        margin: f64,
    },
    /// The inputs drifted and the labels do not show that this is harmless.
    Drift,
    /// So long after the champion was promoted.
    Every(Seconds),
    /// So many labelled rows that the champion was not trained on.
    NewLabels(u64),
}

/// Where the loop stands; persisted by the executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is under way.
    Watching,
    /// A child process trains.
    Training {
        /// The run's name.
        run: String,
        /// 1 for the first.
        attempt: u32,
    },
    /// A child process compares the challenger with the champion.
    Gating {
        /// The run that made the challenger.
        run: String,
        /// The challenger.
        version: String,
        /// 1 for the first.
        attempt: u32,
    },
    /// The challenger answers part of the requests.
    Canary {
        /// The run that made the challenger.
        run: String,
        /// The challenger.
        version: String,
        /// Index into `Policy::canary_steps`.
        step: usize,
    },
}

/// The version that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Champion {
    /// Its version.
    pub version: String,
    /// When it was promoted.
    pub since: Seconds,
}

/// The sequential test of "the error rate is at most the baseline's plus the margin".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judge {
    /// Labelled rows of the version since its promotion.
    pub labels: u64,
    /// Of these, rows with a wrong answer.
    pub wrong: u64,
    /// Natural logarithm of the e-process's wealth.
    pub log_wealth: f64,
    /// The wealth's logarithm at which the budget of false alarms is used: ln(1 / budget).
    pub threshold: f64,
    /// The wealth reached the threshold at some look. It stays so: the test is over once it has rejected.
    pub alarmed: bool,
    /// Accuracy expected of the version, from its test set or its gate; `None` when it is not known.
    pub baseline_accuracy: Option<f64>,
    /// Live accuracy with its interval: (estimate, lower, upper); `None` without labels.
    pub accuracy: Option<(f64, f64, f64)>,
}

impl Judge {
    /// The labels show that accuracy has not fallen by more than `margin`: the interval's lower end is above.
    pub fn shows_no_harm(&self, margin: f64) -> bool {
        match (self.accuracy, self.baseline_accuracy) {
            (Some((_, lower, _)), Some(baseline)) => lower >= baseline - margin,
            _ => false,
        }
    }
}

/// The result of the last complete window.
#[derive(Clone, Debug, PartialEq)]
pub enum Drift {
    /// The first window is not complete.
    Gathering,
    /// A complete window.
    Window {
        /// Rows in it.
        rows: u64,
        /// Features that drifted, with their PSI and p-value, the smallest p-value first.
        drifted: Vec<DriftedFeature>,
        /// Features tested.
        tested: usize,
    },
}

/// A feature whose distribution moved.
#[derive(Clone, Debug, PartialEq)]
pub struct DriftedFeature {
    /// The feature.
    pub feature: String,
    /// Population stability index against the reference.
    pub psi: f64,
    /// Of the test corrected for sample size.
    pub p_value: f64,
}

/// An observation that should be there and is not. Missing is never "fine".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is missing, a short stable key (`metrics`, `traffic`, `labels`, `baseline`, `reference`, `canary_metrics`).
    pub what: String,
    /// Why, and what to do.
    pub detail: String,
    /// Since when.
    pub since: Seconds,
}

/// What the loop did before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Runs started ever: the number of the next run is one more.
    pub runs: u64,
    /// When the runs of the last 24 hours were started.
    pub starts: Vec<Seconds>,
    /// When the last run ended, however it ended.
    pub last_end: Option<Seconds>,
    /// What was suggested last and for which champion; kept so that a suggestion is made once.
    pub suggested: Option<String>,
}

/// What the child process of a phase is doing, as its run folder tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// No process was started for this attempt.
    NotStarted,
    /// It runs (perhaps started by a scheduler that died since).
    Running,
    /// Training ended well and registered this version.
    Trained {
        /// The challenger.
        version: String,
    },
    /// Gating ended.
    Gated {
        /// Whether the challenger may go on.
        passed: bool,
        /// Every reason, a sentence each.
        reasons: Vec<String>,
    },
    /// It ended with an error of its own.
    Failed {
        /// The sentence it printed.
        error: String,
    },
    /// It ended without a word: killed, out of memory, or power lost.
    Crashed,
}

/// The canary beside the champion, over the canary's current step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CanaryReport {
    /// Requests that the canary answered in this step.
    pub requests: u64,
    /// Of these, failed ones.
    pub errors: u64,
    /// The champion's requests in the same time.
    pub champion_requests: u64,
    /// Of these, failed ones.
    pub champion_errors: u64,
    /// ln wealth of "the canary fails more than the champion", and its threshold.
    pub error_wealth: (f64, f64),
    /// 95th percentile of the canary's latency, in milliseconds.
    pub latency_p95_ms: Option<f64>,
    /// 95th percentile of the champion's latency in the same time, in milliseconds.
    pub champion_latency_p95_ms: Option<f64>,
    /// Fisher's exact p-value of "a larger share of the canary's requests is slow": more than the tolerated ratio
    /// times the champion's 95th percentile.
    pub slower_p_value: f64,
    /// The canary's labelled rows against what its gate promised.
    pub judge: Judge,
}
