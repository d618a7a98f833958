use std::path::PathBuf;

use refit_artifact::{ArtifactError, Precision};
use refit_engine::EngineError;
use refit_preprocess::PreprocessError;
use refit_stats::StatsError;

/// What can go wrong between an artifact and an answer.
#[derive(Debug, thiserror::Error)]
pub enum PredictorError {
    /// The artifact cannot be used.
    #[error("the artifact cannot be used")]
    Artifact(#[from] ArtifactError),
    /// The tokenizer or its settings cannot be used.
    #[error("the preprocessing of {path} cannot be used: train the model again")]
    Preprocessing {
        /// The artifact.
        path: PathBuf,
        /// What is wrong.
        source: PreprocessError,
    },
    /// A text cannot be turned into tokens.
    #[error("the text cannot be tokenized")]
    Tokenize(#[source] PreprocessError),
    /// The engine cannot load or run the model.
    #[error("the engine failed")]
    Engine(#[from] EngineError),
    /// An engine was asked for by name and is not there.
    #[error("the engine {name} was asked for but is not available: {reason}")]
    NoEngine {
        /// The engine's name.
        name: String,
        /// Why it is not there.
        reason: String,
    },
    /// A precision was asked for that the artifact does not have.
    #[error("the artifact {path} has no {precision} model: serve another precision, or export it again")]
    NoPrecision {
        /// The artifact.
        path: PathBuf,
        /// What was asked for.
        precision: Precision,
    },
    /// A second text is missing, or is one too many.
    #[error("{}", if *missing {
        format!("a model for {task} reads two texts: send the second one, or the question, as \"pair\"")
    } else {
        format!("a model for {task} reads one text: leave out \"pair\"")
    })]
    Pair {
        /// What the model does.
        task: refit_spec::Task,
        /// Whether it is missing.
        missing: bool,
    },
    /// The model's inputs or outputs are not those of its task.
    #[error("the model in {path} is none that refit exported for its task: {reason}")]
    Model {
        /// The artifact.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer gives other tokens than at training time.
    #[error(
        "{path} is not served: the text {text:?} gives other tokens than at training time, so the tokenizer or its \
         settings differ; train it again with this version of refit"
    )]
    GoldenTokens {
        /// The artifact.
        path: PathBuf,
        /// The example's text, shortened.
        text: String,
        /// The token ids of training time.
        expected: Vec<i64>,
        /// The token ids of now.
        found: Vec<i64>,
    },
    /// The engine gives other answers than at training time.
    #[error(
        "{path} is not served: {precision} in {engine} answers {text:?} with logits that differ by {difference:e} from \
         those of training time, and {tolerance:e} is allowed; use another engine, or train it again"
    )]
    GoldenLogits {
        /// The artifact.
        path: PathBuf,
        /// The example's text, shortened.
        text: String,
        /// The engine.
        engine: String,
        /// The precision.
        precision: Precision,
        /// The largest absolute difference of a logit.
        difference: f32,
        /// The largest that is allowed.
        tolerance: f32,
    },
    /// There is nothing to replay.
    #[error(
        "{path} is not served: it has no golden example for {precision}, so it cannot be checked; train it again"
    )]
    NoGolden {
        /// The artifact.
        path: PathBuf,
        /// The precision to be served.
        precision: Precision,
    },
    /// The model answered with something that is no number.
    #[error(
        "the model's answer is not finite: its weights or this input are out of range, so there is no answer"
    )]
    NotFinite,
    /// A reference distribution cannot be made.
    #[error("the reference distributions cannot be made from {rows} rows")]
    Reference {
        /// The number of rows.
        rows: usize,
        /// What is wrong.
        source: StatsError,
    },
}
