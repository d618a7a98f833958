//! What a run tells while it goes on: the training loop knows nothing of logs, bars or reports.

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stage begins: `device` (the first line of a run: what computes, and why), `data`, `base`, `features`, `training`, `export`, `parity`, `evaluation`, `publish`.
    Stage {
        /// Its name.
        name: &'static str,
        /// What it will do, with its figures.
        message: String,
    },
    /// A stage has done `done` of `total` units.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// An optimizer step was made.
    Step(Step),
    /// An epoch ended and the validation rows were scored.
    Epoch(Epoch),
    /// The state of the run was kept.
    Checkpoint {
        /// Optimizer steps done.
        step: usize,
        /// What it took.
        seconds: f64,
    },
    /// Something that the user should read.
    Notice(String),
}

/// One optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// From zero.
    pub step: usize,
    /// Steps of the whole run, if it is not stopped early.
    pub total: usize,
    /// Mean loss of the step's rows.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// Rows of the step.
    pub rows: usize,
    /// Their tokens, padding left out.
    pub tokens: usize,
    /// Duration of the step.
    pub seconds: f64,
}

/// The end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Epoch {
    /// From one.
    pub epoch: usize,
    /// Optimizer steps of the run done at its end.
    pub steps: usize,
    /// Mean loss over the training rows, dropout on.
    pub train_loss: f64,
    /// Mean loss over the validation rows.
    pub validation_loss: f64,
    /// The metric of early stopping on the validation rows.
    pub metric: f64,
    /// Whether these are the best weights so far.
    pub best: bool,
    /// Duration of the epoch, scoring included.
    pub seconds: f64,
}

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Training loss of every optimizer step.
    pub losses: Vec<f64>,
    /// Every epoch.
    pub epochs: Vec<Epoch>,
}

/// Where events go.
pub type Listener<'a> = dyn FnMut(Event) + Send + 'a;
