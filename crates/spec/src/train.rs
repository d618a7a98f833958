use crate::balance::{Augment, ClassWeights, RawAugment, Sampling};
use crate::checkpoint::{CheckpointSpec, RawCheckpoint};
use crate::method::Method;
use crate::metric::Metric;
use crate::problem::Problem;
use crate::prune::{Prune, RawPrune};
use crate::reader::{Reader, words};
use crate::section::section;
use crate::spec::{Section, TableBuilder};

section! {
    /// How it is trained.
    RawTrain at "train" {
        /// What is trained: `"full"`, `"partial(last_layers = 2)"`, `"feature-extraction"` or `"lora(rank = 8, alpha = 16)"`, which adapts the projections of queries and values unless `targets = query+dense` names other layers; `dropout = 0.1` drops inputs of the adapters. What is frozen is computed once per example.
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
        dropout: "share" = "(that of the base; 0.1 in the head, and where the base has none)",
        /// Share of the target that is spread over all labels.
        label_smoothing: "share" = "0.0",
        /// Errors of a regression beyond this many standard deviations of the target count linearly, not squared (Huber's loss); 0 squares all.
        huber_delta: "number" = "0.0",
        /// Tokens that neighbouring windows over a long text share (`question-answering`).
        stride: "count" = "(a quarter of max_length)",
        /// Layer-wise decay of the learning rate: the head learns at the full rate, the last layer at this share of it, the layer before at the share of that, and the embeddings slowest (Bao et al. 2022). 1 is off; 0.65 to 0.95 are usual.
        layer_decay: "share" = "1.0",
        /// Evaluate and export a moving average of the weights instead of the last ones.
        averaging: "table" = "(none)",
        /// Heads and feed-forward columns that are taken out of the pretrained model first, so that what is trained and served is really smaller, and weights that are set to zero.
        prune: "table" = "(none, see below)",
        /// Mixup (Zhang et al. 2018) of the pooled embedding of a text with that of another of its batch, and of the two losses, with a weight drawn from Beta(alpha, alpha). 0 is off; 0.1 to 0.4 are usual. Single-label classification only.
        mixup: "number" = "0.0",
        /// How much a row of each label weighs in the loss, as `CrossEntropyLoss(weight=...)` does in PyTorch: `"balanced"` weighs labels by the inverse of the number of their rows; a table names labels, the others weigh 1.
        class_weights: "`\"none\"`, `\"balanced\"` or a table" = "\"none\"",
        /// Which rows an epoch takes: `"shuffled"` every row once, `"balanced"` as many of every label.
        sampling: "`\"shuffled\"` or `\"balanced\"`" = "\"shuffled\"",
        /// Changes to the texts of training rows.
        augment: "table" = "(none, see below)",
        /// The same seed gives the same model, bit for bit, with the same number of threads.
        seed: "count" = "7",
        /// Threads to compute with.
        threads: "count" = "(one per core)",
        /// What computes: `"auto"` takes the first GPU where this build has CUDA and the machine a GPU.
        device: "`\"auto\"`, `\"cpu\"` or `\"cuda\"`" = "\"auto\"",
        /// In which numbers a GPU multiplies: `"float32"`, `"tf32"` (float32 whose products read 10 bits of mantissa), or `"bf16"` (products in bfloat16 over float32 weights: half the memory of activations). `"auto"` is tf32 on a GPU. The CPU computes in float32 always.
        precision: "`\"auto\"`, `\"float32\"`, `\"tf32\"` or `\"bf16\"`" = "\"auto\"",
        /// When the state of the run is kept on disk.
        checkpoint: "table" = "(see below)",
        /// Keep the activations at the borders of layers only and compute the others again in the backward pass: less memory, about a third more time, the same result.
        activation_checkpointing: "boolean" = "false",
    }
}

section! {
    /// When to stop before the last epoch.
    RawEarlyStopping at "train.early_stopping" {
        /// The measure on the validation rows; every task has `"loss"`. `text-classification`: `"f1_macro"`, `"accuracy"`, `"precision_macro"`, `"recall_macro"`; `multi-label-classification`: `"f1_micro"`, `"f1_macro"`, `"accuracy"`, `"average_precision"`; `regression`: `"r2"`, `"pearson"`, `"spearman"`, `"mae"`, `"rmse"`; `token-classification`: `"entity_f1"`, `"entity_precision"`, `"entity_recall"`, `"accuracy"`; `question-answering`: `"answer_f1"`, `"exact_match"`; `embedding`: `"recall_at_1"`, `"recall_at_10"`, `"mrr"`.
        metric: "metric" = "(the first of the task's)",
        /// Epochs without a better value before it stops.
        patience: "count" = "2",
    }
}

section! {
    /// A moving average of the weights. Without the section there is none.
    RawAveraging at "train.averaging" {
        /// Share of the average that is kept at each step. The first steps keep less, `(1 + n) / (10 + n)` after n steps, so that a short run does not keep its untrained beginning.
        decay: "share" = "(0.999)",
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

/// In which numbers a GPU multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainPrecision {
    /// TF32 on a GPU.
    Auto,
    /// float32.
    Float32,
    /// float32 whose products read 10 bits of mantissa.
    Tf32,
    /// Products in bfloat16, weights and everything else in float32.
    Bf16,
}
words!(TrainPrecision { Auto = "auto", Float32 = "float32", Tf32 = "tf32", Bf16 = "bf16" });

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
    /// Share of activations dropped in training, if it is not the base's own.
    pub dropout: Option<f64>,
    /// Share of the target spread over all labels.
    pub label_smoothing: f64,
    /// Where a regression's loss turns from squared to linear, if it does.
    pub huber_delta: Option<f64>,
    /// Tokens that neighbouring windows over a long text share.
    pub stride: usize,
    /// Share of the learning rate that each layer has of the layer after it.
    pub layer_decay: f64,
    /// The moving average that is kept in place of the last weights.
    pub averaging: Option<Averaging>,
    /// What is taken out of the pretrained model.
    pub prune: Option<Prune>,
    /// Both parameters of the Beta distribution of mixup's weight; none is no mixup.
    pub mixup: Option<f64>,
    /// How much a row of each label weighs.
    pub class_weights: ClassWeights,
    /// Which rows an epoch takes.
    pub sampling: Sampling,
    /// Changes to the texts of training rows.
    pub augment: Option<Augment>,
    /// The seed of everything random.
    pub seed: u64,
    /// Threads to compute with; none means one per core.
    pub threads: Option<usize>,
    /// What computes.
    pub device: DeviceChoice,
    /// In which numbers a GPU multiplies.
    pub precision: TrainPrecision,
    /// When the state of the run is kept.
    pub checkpoint: CheckpointSpec,
    /// Compute activations again in the backward pass instead of keeping them.
    pub activation_checkpointing: bool,
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

/// `train.averaging`, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Averaging {
    /// Share of the average that is kept at each step, once enough steps are done.
    pub decay: f64,
}

impl TrainSpec {
    /// Share that is dropped where neither spec nor base says one.
    pub const USUAL_DROPOUT: f64 = 0.1;
}

impl Section for TrainSpec {
    type Raw = RawTrain;

    fn check(raw: &RawTrain, problems: &mut Vec<Problem>) -> Option<Self> {
        let early_stopping =
            EarlyStopping::check(&RawEarlyStopping::read(raw.early_stopping.as_ref(), problems), problems)?;
        let checkpoint =
            CheckpointSpec::check(&RawCheckpoint::read(raw.checkpoint.as_ref(), problems), problems)?;
        let averaging = match &raw.averaging {
            None => None,
            written => Averaging::check(&RawAveraging::read(written.as_ref(), problems), problems),
        };
        let prune = match &raw.prune {
            None => None,
            written => Prune::check(&RawPrune::read(written.as_ref(), problems), problems),
        };
        let augment = match &raw.augment {
            None => None,
            written => Augment::check(&RawAugment::read(written.as_ref(), problems), problems),
        };
        let mut r = Reader::new("train", problems);
        let method = r.parsed("method", &raw.method).unwrap_or(Method::Full);
        if matches!(method, Method::Lora { .. }) && prune.is_some_and(|prune| prune.weights > 0.0) {
            let fix =
                "leave train.prune.weights away, or train with \"full\" or \"partial(last_layers = 2)\"";
            r.problem("method", raw.method.as_ref(), "its adapters would fill weights that are pruned", fix);
        }
        if raw.batch_size.is_some() && raw.batch_tokens.is_some() {
            let fix = "keep one of them";
            r.problem("batch_tokens", raw.batch_tokens.as_ref(), "batch_size is given too", fix);
        }
        let rows = r.count("batch_size", &raw.batch_size, 1..=65_536).unwrap_or(32) as usize;
        let tokens = r.count("batch_tokens", &raw.batch_tokens, 16..=16_777_216);
        let learning_rate = r.number("learning_rate", &raw.learning_rate, 1e-9..=1.0);
        let max_length = r.count("max_length", &raw.max_length, 3..=65_536).unwrap_or(128) as usize;
        let huber_delta = r.number("huber_delta", &raw.huber_delta, 0.0..=1e6).filter(|&delta| delta > 0.0);
        let stride =
            r.count("stride", &raw.stride, 0..=65_536).map_or(max_length / 4, |stride| stride as usize);
        Some(Self {
            huber_delta,
            stride,
            learning_rate: learning_rate.unwrap_or(default_learning_rate(&method)),
            method,
            epochs: r.count("epochs", &raw.epochs, 1..=10_000).unwrap_or(3) as usize,
            early_stopping,
            max_length,
            batch: tokens.map_or(Batch::Rows(rows), |tokens| Batch::Tokens(tokens as usize)),
            accumulate: r.count("accumulate", &raw.accumulate, 1..=65_536).unwrap_or(1) as usize,
            weight_decay: r.number("weight_decay", &raw.weight_decay, 0.0..=1.0).unwrap_or(0.01),
            warmup: r.number("warmup", &raw.warmup, 0.0..=1.0).unwrap_or(0.06),
            schedule: r.parsed("schedule", &raw.schedule).unwrap_or(Schedule::Linear),
            clip: Some(r.number("clip", &raw.clip, 0.0..=1e6).unwrap_or(1.0)).filter(|&clip| clip > 0.0),
            dropout: r.number("dropout", &raw.dropout, 0.0..=0.9),
            label_smoothing: r.number("label_smoothing", &raw.label_smoothing, 0.0..=0.9).unwrap_or(0.0),
            layer_decay: r.number("layer_decay", &raw.layer_decay, 0.01..=1.0).unwrap_or(1.0),
            averaging,
            prune,
            mixup: r.number("mixup", &raw.mixup, 0.0..=16.0).filter(|&alpha| alpha > 0.0),
            class_weights: ClassWeights::read(&mut r, &raw.class_weights),
            sampling: r.parsed("sampling", &raw.sampling).unwrap_or(Sampling::Shuffled),
            augment,
            seed: r.count("seed", &raw.seed, 0..=i64::MAX as u64).unwrap_or(7),
            threads: r.count("threads", &raw.threads, 1..=4096).map(|threads| threads as usize),
            device: r.parsed("device", &raw.device).unwrap_or(DeviceChoice::Auto),
            precision: r.parsed("precision", &raw.precision).unwrap_or(TrainPrecision::Auto),
            checkpoint,
            activation_checkpointing: r.boolean(
                "activation_checkpointing",
                &raw.activation_checkpointing,
                false,
            ),
        })
    }

    fn table(&self) -> TableBuilder {
        let (batch, size) = match self.batch {
            Batch::Rows(rows) => ("batch_size", rows),
            Batch::Tokens(tokens) => ("batch_tokens", tokens),
        };
        let table = TableBuilder::default()
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
            .optional_value("dropout", self.dropout)
            .value("label_smoothing", self.label_smoothing)
            .value("huber_delta", self.huber_delta.unwrap_or(0.0))
            .value("stride", self.stride as i64)
            .value("layer_decay", self.layer_decay)
            .value("mixup", self.mixup.unwrap_or(0.0))
            .value("class_weights", self.class_weights.written())
            .text("sampling", self.sampling)
            .value("seed", self.seed as i64)
            .optional_value("threads", self.threads.map(|threads| threads as i64))
            .text("device", self.device)
            .text("precision", self.precision)
            .value("activation_checkpointing", self.activation_checkpointing)
            .section("checkpoint", &self.checkpoint)
            .section("early_stopping", &self.early_stopping);
        let table = match &self.augment {
            Some(augment) => table.section("augment", augment),
            None => table,
        };
        let table = match &self.prune {
            Some(prune) => table.section("prune", prune),
            None => table,
        };
        match &self.averaging {
            Some(averaging) => table.section("averaging", averaging),
            None => table,
        }
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

impl Section for Averaging {
    type Raw = RawAveraging;

    fn check(raw: &RawAveraging, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut r = Reader::new("train.averaging", problems);
        Some(Self { decay: r.number("decay", &raw.decay, 0.0..=0.999_999).unwrap_or(0.999) })
    }

    fn table(&self) -> TableBuilder {
        TableBuilder::default().value("decay", self.decay)
    }
}
