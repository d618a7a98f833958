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

    #[error("static int8 needs ranges, and none were found: give training rows")]
    NotCalibrated,

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

    #[error(
        "training stopped at step {step}, whose loss is {loss}: {place}, for the rows {}. Look at these rows, or lower train.learning_rate; the checkpoints before it are kept",
        listed(rows)
    )]
    NotFinite { step: usize, loss: f64, rows: Vec<usize>, place: String },

    #[error(
        "training stopped at step {step}, whose loss is {loss}: {place}, for the rows {origins}. Look at these rows, or lower train.learning_rate; the checkpoints before it are kept"
    )]
    NotFiniteRows { step: usize, loss: f64, origins: String, place: String },

    #[error(
        "training needs about {needed} of memory beside what the program holds, and {free} are free: {fix}"
    )]
    Memory { needed: String, free: String, fix: String },

    #[error(
        "there is nothing to train: the method {method} freezes every parameter that the loss depends on. Set train.method = \"full\", or more layers"
    )]
    NothingToTrain { method: String },

    #[error(
        "the device was lost at step {step}: what was kept before is whole, and the same command goes on from it"
    )]
    DeviceLost { step: usize, source: Box<TrainError> },

    #[error("the frozen part of the model does not make \"{name}\" as float32")]
    Feature { name: String },

    #[error("the cache of computed features {} cannot be used: free space or name another cache folder", path.display())]
    FeatureCache { path: PathBuf, source: std::io::Error },

    #[error(
        "train.device = \"cuda\" was asked for, and there is no GPU to use: build with --features cuda (`cargo xtask cuda`) and check the driver, or set \"auto\""
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

    #[error("{origin} has the label {label:?}, which is no number")]
    NoNumber { origin: String, label: String },

    #[error("all {rows} training rows have the number {number}: there is nothing to learn")]
    OneNumber { number: f64, rows: usize },

    #[error("the run cannot begin")]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),

    #[error("stopped as asked, {during}; the same command goes on from there")]
    Stopped { during: String },

    #[error("{} is there already: name another output, or remove it", output.display())]
    OutputExists { output: PathBuf },

    #[error("train.class_weights names \"{label}\", and the labels are {known}{}", near.as_ref().map_or_else(String::new, |name| format!("; did you mean \"{name}\"?")))]
    ClassWeight { label: String, known: String, near: Option<String> },

    #[error("train.{key} is for {needs}: remove it")]
    NotForTask { key: &'static str, needs: &'static str },

    #[error("{origin} has the label \"{label}\", and the model knows {known}")]
    RowLabel { origin: String, label: String, known: String },

    #[error("the data cannot be cross-validated: {why}")]
    Folds { why: String },

    #[error("{} cannot be written: free space, or name another --home", path.display())]
    Keep { path: PathBuf, source: std::io::Error },

    #[error("another process is at work in {}: wait for it, or end it", path.display())]
    AtWork { path: PathBuf },

    #[error(
        "there is nothing to search: name keys and their values under [search.space], such as \"train.learning_rate\" = {{ log = [1e-5, 1e-3] }}"
    )]
    NothingToSearch,

    #[error("none of {trials} trials came to an end; the first said: {why}")]
    EveryTrialFailed { trials: usize, why: String },

    #[error("the settings cannot be used")]
    Spec(#[from] refit_spec::SpecErrors),

    #[error("champion and challenger cannot be compared: {why}")]
    Gate { why: String },
}

/// The first of many numbers.
fn listed(rows: &[usize]) -> String {
    const MOST: usize = 8;
    let mut text = rows.iter().take(MOST).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if rows.len() > MOST {
        text.push_str(&format!(" and {} more", rows.len() - MOST));
    }
    text
}
