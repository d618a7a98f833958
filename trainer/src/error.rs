use std::path::PathBuf;

/// Why a model was not trained, exported or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum TrainError {
    #[error("the data cannot be used")]
    Data(#[from] crate::data::DataError),

    #[error("the base {source_text} cannot be used")]
    Base { source_text: String, source: Box<refit_families::FamilyError> },

    #[error("the model cannot be changed as asked")]
    Pass(#[from] refit_passes::PassError),

    #[error("the model cannot be trained")]
    Autodiff(#[from] refit_autodiff::AutodiffError),

    #[error("the model cannot be written or read")]
    Graph(#[from] refit_graph::GraphError),

    #[error("a computation on tensors failed")]
    Tensor(#[from] candle_core::Error),

    #[error("the inference engine failed")]
    Engine(#[from] refit_engine::EngineError),

    #[error("the figures cannot be computed")]
    Stats(#[from] refit_stats::StatsError),

    #[error("the evaluation failed")]
    Evaluation(#[from] crate::evaluation::EvaluationError),

    #[error("the tokenizer cannot be used")]
    Preprocess(#[from] refit_preprocess::PreprocessError),

    #[error("the artifact cannot be used")]
    Artifact(#[from] refit_artifact::ArtifactError),

    #[error("the model cannot answer")]
    Predictor(#[from] refit_predictor::PredictorError),

    #[error(
        "there is no tokenizer.json beside the base {base}: put one there, or name it under [model] tokenizer"
    )]
    NoTokenizer { base: String },

    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },

    #[error(
        "no gradient reaches {} trainable parameter(s): {}. The loss does not depend on them: freeze them, or check where the graph is cut",
        names.len(), names.join(", ")
    )]
    NoGradient { names: Vec<String> },

    #[error("the loss is {loss} at step {step}: lower learning_rate, or look at the rows of that step")]
    LossNotFinite { step: usize, loss: f64 },

    #[error("the frozen part of the model does not make \"{name}\" as float32")]
    Feature { name: String },

    #[error("the cache of computed features {} cannot be used: free space or name another cache folder", path.display())]
    FeatureCache { path: PathBuf, source: std::io::Error },

    #[error(
        "train.device = \"cuda\" was asked for, and there is no GPU to use: build with --features cuda and check the driver, or set \"auto\""
    )]
    NoGpu { source: candle_core::Error },

    #[error("the cache of computed features has lost an entry: delete its folder and train again")]
    FeatureLost,

    #[error(
        "the exported model does not answer as the trained one: {actual} differs from {expected} by {max_abs:.2e} (allowed {tolerance:.0e}) over {rows} rows; nothing was registered"
    )]
    Parity { expected: String, actual: String, rows: usize, max_abs: f64, tolerance: f64 },

    #[error(
        "there are {rows} held-out rows, and {needed} are needed to show that the export is right: give more data"
    )]
    TooFewRows { rows: usize, needed: usize },

    #[error("champion and challenger cannot be compared: {why}")]
    Gate { why: String },
}
