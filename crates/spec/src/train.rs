use crate::method::Method;
use crate::metric::Metric;
use crate::problem::Problem;
use crate::reader::{Reader, words};
use crate::section::section;
use crate::spec::{Section, TableBuilder};

section! {
    /// How it is trained.
    RawTrain at "train" {
        /// What is trained: `"full"`, `"partial(last_layers = 2)"`, `"feature-extraction"` or `"lora(rank = 8, alpha = 16)"`, which adapts the projections of queries and values unless `targets = query+dense` names other layers. What is frozen is computed once per example.
        method: "method" = "\"full\"",
        /// Passes over the training rows.
        epochs: "count" = "3",
        /// The highest learning rate of the schedule.
        learning_rate: "number" = "(2e-5 for full and partial, 5e-4 for lora, 1e-3 for feature-extraction)",
        /// When to stop before the last epoch; the best weights are kept in any case.
        early_stopping: "table" = "(see below)",
        /// Longer texts are cut to this many tokens, special tokens included.
        max_length: "count" = "128",
        /// Rows in a step.
        batch_size: "count" = "32",
        /// Tokens in a step, padding included, instead of `batch_size`.
        batch_tokens: "count" = "(none)",
        /// Steps whose gradients are added up before the weights change.
        accumulate: "count" = "1",
        /// Decoupled weight decay (AdamW); none on biases and norms.
        weight_decay: "number" = "0.01",
        /// Share of the steps over which the learning rate rises from 0.
        warmup: "share" = "0.06",
        /// How the learning rate falls afterwards.
        schedule: "`\"linear\"`, `\"cosine\"` or `\"constant\"`" = "\"linear\"",
        /// Longest gradient (its norm over all parameters); 0 does not clip.
        clip: "number" = "1.0",
        /// Share of activations that are dropped in training.
        dropout: "share" = "0.1",
        /// Share of the target that is spread over all labels.
        label_smoothing: "share" = "0.0",
        /// The same seed gives the same model, bit for bit, with the same number of threads.
        seed: "count" = "7",
        /// Threads to compute with.
        threads: "count" = "(one per core)",
        /// What computes: `"auto"` takes the first GPU where this build has CUDA and the machine a GPU.
        device: "`\"auto\"`, `\"cpu\"` or `\"cuda\"`" = "\"auto\"",
    }
}

section! {
    /// When to stop before the last epoch.
    RawEarlyStopping at "train.early_stopping" {
        /// The measure on the validation rows: `"accuracy"`, `"f1_macro"`, `"precision_macro"`, `"recall_macro"` or `"loss"`.
        metric: "metric" = "\"f1_macro\"",
        /// Epochs without a better value before it stops.
        patience: "count" = "2",
    }
}

/// What computes the training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first GPU, or nothing.
    Cuda,
}
words!(DeviceChoice { Auto = "auto", Cpu = "cpu", Cuda = "cuda" });

/// `[train]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainSpec {
    /// What is trained.
    pub method: Method,
    /// Passes over the training rows.
    pub epochs: usize,
    /// The highest learning rate of the schedule.
    pub learning_rate: f64,
    /// When to stop early.
    pub early_stopping: EarlyStopping,
    /// Most tokens of a text, special tokens included.
    pub max_length: usize,
    /// How many rows a step takes.
    pub batch: Batch,
    /// Steps whose gradients are added up.
    pub accumulate: usize,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Share of the steps with a rising learning rate.
    pub warmup: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Longest gradient, if it is clipped.
    pub clip: Option<f64>,
    /// Share of activations dropped in training.
    pub dropout: f64,
    /// Share of the target spread over all labels.
    pub label_smoothing: f64,
    /// The seed of everything random.
    pub seed: u64,
    /// Threads to compute with; none means one per core.
    pub threads: Option<usize>,
    /// What computes.
    pub device: DeviceChoice,
}

/// How large a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// A number of rows.
    Rows(usize),
    /// A number of tokens, padding included.
    Tokens(usize),
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// In a straight line to 0.
    Linear,
    /// Along half a cosine to 0.
    Cosine,
    /// Not at all.
    Constant,
}
words!(Schedule { Linear = "linear", Cosine = "cosine", Constant = "constant" });

/// `train.early_stopping`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlyStopping {
    /// The measure on the validation rows.
    pub metric: Metric,
    /// Epochs without a better value.
    pub patience: usize,
}

impl Section for TrainSpec {
    type Raw = RawTrain;

    fn check(raw: &RawTrain, problems: &mut Vec<Problem>) -> Option<Self> {
        let early_stopping =
            EarlyStopping::check(&RawEarlyStopping::read(raw.early_stopping.as_ref(), problems), problems)?;
        let mut r = Reader::new("train", problems);
        let method = r.parsed("method", &raw.method).unwrap_or(Method::Full);
        if raw.batch_size.is_some() && raw.batch_tokens.is_some() {
            let fix = "keep one of them";
            r.problem("batch_tokens", raw.batch_tokens.as_ref(), "batch_size is given too", fix);
        }
        let rows = r.count("batch_size", &raw.batch_size, 1..=65_536).unwrap_or(32) as usize;
        let tokens = r.count("batch_tokens", &raw.batch_tokens, 16..=16_777_216);
        let learning_rate = r.number("learning_rate", &raw.learning_rate, 1e-9..=1.0);
        Some(Self {
            learning_rate: learning_rate.unwrap_or(default_learning_rate(&method)),
            method,
            epochs: r.count("epochs", &raw.epochs, 1..=10_000).unwrap_or(3) as usize,
            early_stopping,
            max_length: r.count("max_length", &raw.max_length, 3..=65_536).unwrap_or(128) as usize,
            batch: tokens.map_or(Batch::Rows(rows), |tokens| Batch::Tokens(tokens as usize)),
            accumulate: r.count("accumulate", &raw.accumulate, 1..=65_536).unwrap_or(1) as usize,
            weight_decay: r.number("weight_decay", &raw.weight_decay, 0.0..=1.0).unwrap_or(0.01),
            warmup: r.number("warmup", &raw.warmup, 0.0..=1.0).unwrap_or(0.06),
            schedule: r.parsed("schedule", &raw.schedule).unwrap_or(Schedule::Linear),
            clip: Some(r.number("clip", &raw.clip, 0.0..=1e6).unwrap_or(1.0)).filter(|&clip| clip > 0.0),
            dropout: r.number("dropout", &raw.dropout, 0.0..=0.9).unwrap_or(0.1),
            label_smoothing: r.number("label_smoothing", &raw.label_smoothing, 0.0..=0.9).unwrap_or(0.0),
            seed: r.count("seed", &raw.seed, 0..=i64::MAX as u64).unwrap_or(7),
            threads: r.count("threads", &raw.threads, 1..=4096).map(|threads| threads as usize),
            device: r.parsed("device", &raw.device).unwrap_or(DeviceChoice::Auto),
        })
    }

    fn table(&self) -> TableBuilder {
        let (batch, size) = match self.batch {
            Batch::Rows(rows) => ("batch_size", rows),
            Batch::Tokens(tokens) => ("batch_tokens", tokens),
        };
        TableBuilder::default()
            .text("method", &self.method)
            .value("epochs", self.epochs as i64)
            .value("learning_rate", self.learning_rate)
            .value("max_length", self.max_length as i64)
            .value(batch, size as i64)
            .value("accumulate", self.accumulate as i64)
            .value("weight_decay", self.weight_decay)
            .value("warmup", self.warmup)
            .text("schedule", self.schedule)
            .value("clip", self.clip.unwrap_or(0.0))
            .value("dropout", self.dropout)
            .value("label_smoothing", self.label_smoothing)
            .value("seed", self.seed as i64)
            .optional_value("threads", self.threads.map(|threads| threads as i64))
            .text("device", self.device)
            .section("early_stopping", &self.early_stopping)
    }
}

fn default_learning_rate(method: &Method) -> f64 {
    match method {
        Method::Full | Method::Partial { .. } => 2e-5,
        Method::Lora { .. } => 5e-4,
        Method::FeatureExtraction => 1e-3,
    }
}

impl Section for EarlyStopping {
    type Raw = RawEarlyStopping;

    fn check(raw: &RawEarlyStopping, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("train.early_stopping", problems);
        Some(Self {
            metric: r.parsed("metric", &raw.metric).unwrap_or(Metric::F1Macro),
            patience: r.count("patience", &raw.patience, 1..=10_000).unwrap_or(2) as usize,
        })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default().text("metric", self.metric).value("patience", self.patience as i64)
    }
}
