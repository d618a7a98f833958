//! Commands that make models, judge them, and run what does so.

use super::SpecArguments;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum TrainingCommand {
    /// Shows a model that refits itself, on real data, within five minutes.
    #[command(after_help = "Example:\n  refit demo --json figures.json --stay")]
    Demo(DemoArguments),
    /// Trains version 1 if there is none, then serves, watches and refits.
    #[command(after_help = "Example:\n  refit up refit.toml")]
    Up(SpecArguments),
    /// Shows what a model is and what would train: inputs, layers, parameters, operators, the place of a head.
    #[command(
        after_help = "Example:\n  refit inspect model.onnx\n  refit inspect pypi:NAME==VERSION/PATH --json"
    )]
    Inspect(InspectArguments),
    /// Trains a model and registers it as a candidate.
    #[command(after_help = "Example:\n  refit train refit.toml --json")]
    Train(TrainArguments),
    /// Runs the trainer as a service: submitted specs are trained, one at a time on each device.
    #[command(after_help = "Example:\n  refit trainer --home .refit --address 127.0.0.1:8082")]
    Trainer(TrainerArguments),
    /// Shows how good models are that the spec makes of such rows: k trainings, each tested on other rows.
    #[command(after_help = "Example:\n  refit cross-validate refit.toml --folds 5")]
    CrossValidate(CrossValidateArguments),
    /// Tries the settings under [search] and writes the best as a complete spec.
    #[command(after_help = "Example:\n  refit search refit.toml")]
    Search(SearchArguments),
    /// Suggests a value of a setting from a short test.
    #[command(after_help = "Example:\n  refit tune lr refit.toml")]
    Tune(TuneArguments),
    /// Evaluates a version on labelled rows.
    #[command(after_help = "Example:\n  refit evaluate refit.toml --version 1 --rows recent.jsonl")]
    Evaluate(EvaluateArguments),
    /// Compares two versions on the same rows, as the loop does before a promotion.
    #[command(
        after_help = "Example:\n  refit gate refit.toml --champion 1 --challenger 2 --recent recent.jsonl"
    )]
    Gate(GateArguments),
    /// Compares two versions, or artifacts, on the same rows by paired tests, with a report.
    #[command(after_help = "Example:\n  refit compare 1 2 refit.toml")]
    Compare(CompareArguments),
    /// Runs the scheduler: observes, decides, trains, promotes.
    #[command(after_help = "Example:\n  refit scheduler refit.toml --inference http://127.0.0.1:8080")]
    Scheduler(SchedulerArguments),
}

impl TrainingCommand {
    /// Whether it runs until it is stopped.
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Scheduler(_) | Self::Up(_))
    }
}

#[derive(Args)]
pub struct DemoArguments {
    /// Where the demo's models and store are kept; emptied at the start.
    #[arg(long, default_value = ".refit-demo")]
    pub home: PathBuf,
    /// Keep the services running at the end, until Ctrl-C.
    #[arg(long)]
    pub stay: bool,
    /// Write every figure to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Port of the inference service; the scheduler takes the next one.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..65535))]
    pub port: u16,
}

#[derive(Args)]
pub struct InspectArguments {
    /// A folder in Hugging Face layout, an .onnx file, a file of weights, or a source as refit.toml names a base.
    pub model: String,
    /// The value that a head is to read, in place of the one that is found.
    #[arg(long)]
    pub at: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct TrainArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Id of the run; the same id picks up the same version.
    #[arg(long)]
    pub run: Option<String>,
    /// Labelled rows from production, {"text", "label"} a line, added to the training rows.
    #[arg(long)]
    pub additional: Option<PathBuf>,
    /// Where training starts: the model that serves, or the pretrained base.
    #[arg(long, value_parser = ["champion", "pretrained"], default_value = "pretrained")]
    pub start: String,
    /// Write the artifact here and register nothing.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Go on from the checkpoint of a run that ended early, or fail. Without this, and without --fresh, a run of the
    /// same spec and data is taken up, and one that changed begins anew.
    #[arg(long, conflicts_with = "fresh")]
    pub resume: bool,
    /// Start from the beginning, whatever checkpoints there are.
    #[arg(long)]
    pub fresh: bool,
    /// Let the trainer at this address do it (`refit trainer`, on the same home), with the token in
    /// REFIT_TRAINER_TOKEN.
    #[arg(long, conflicts_with_all = ["output", "resume", "fresh"])]
    pub trainer: Option<String>,
    /// Write every event to this file, one JSON object a line.
    #[arg(long)]
    pub events: Option<PathBuf>,
    /// Stop when standard input closes: the process that holds the other end is gone.
    #[arg(long, hide = true)]
    pub with_parent: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct TrainerArguments {
    /// Where versions are registered and runs are kept.
    #[arg(long, default_value = ".refit")]
    pub home: PathBuf,
    /// Address and port to listen at; other than on this machine alone it asks for a token.
    #[arg(long, default_value = "127.0.0.1:8082")]
    pub address: std::net::SocketAddr,
    /// What callers have to show as "Authorization: Bearer TOKEN"; best given by the environment.
    #[arg(long, env = "REFIT_TRAINER_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A device that trains one run at a time: cpu, cuda:0, cuda:1. May be given several times.
    #[arg(long = "device", default_values_t = ["cpu".to_owned()])]
    pub devices: Vec<String>,
    /// Runs that may wait.
    #[arg(long, default_value_t = 100)]
    pub max_queued: usize,
    /// Stop when standard input closes: the process that holds the other end is gone.
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

#[derive(Args)]
pub struct CrossValidateArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Number of folds; groups stay whole where data.split.group names a column.
    #[arg(long, default_value_t = 5)]
    pub folds: usize,
    /// Where the report goes [default: beside the finished folds].
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Print every figure as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct SearchArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Where the report goes [default: beside the finished trials].
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Print every trial as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct TuneArguments {
    #[command(subcommand)]
    pub target: TuneTarget,
}

#[derive(Subcommand)]
pub enum TuneTarget {
    /// The learning rate, by a range test; the model of the spec stays what it is.
    Lr(RangeTestArguments),
}

#[derive(Args)]
pub struct RangeTestArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// The lowest rate.
    #[arg(long, default_value_t = 1e-7)]
    pub lowest: f64,
    /// The highest rate.
    #[arg(long, default_value_t = 1e-1)]
    pub highest: f64,
    /// Steps from the lowest to the highest.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..100_000))]
    pub steps: u32,
    /// Where the report goes [default: learning-rate.html in the home].
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Print the curve as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct EvaluateArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// The version; the one that serves when left out.
    #[arg(long)]
    pub version: Option<String>,
    /// Rows {"text", "label"} a line; the frozen test rows when left out.
    #[arg(long)]
    pub rows: Option<PathBuf>,
    /// Print all metrics as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct GateArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// The version that serves.
    #[arg(long)]
    pub champion: String,
    /// The version that wants to.
    #[arg(long)]
    pub challenger: String,
    /// Recent labelled rows that neither was trained on.
    #[arg(long)]
    pub recent: Option<PathBuf>,
    /// Print the evidence as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct CompareArguments {
    /// The first: a version, or the folder of an artifact.
    pub first: String,
    /// The second.
    pub second: String,
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Rows {"text", "label"} a line; the frozen test rows when left out.
    #[arg(long)]
    pub rows: Option<PathBuf>,
    /// Where the report goes [default: comparison.html in the home].
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Print every figure as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct SchedulerArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// An inference service whose metrics are read, one a replica [default: the spec's serve.monitoring, or else its
    /// serve.address].
    #[arg(long)]
    pub inference: Vec<String>,
    /// What those services ask for (`refit token --scope metrics`); best given by the environment.
    #[arg(long, env = "REFIT_INFERENCE_TOKEN", hide_env_values = true)]
    pub inference_token: Option<String>,
    /// Stop when standard input closes: the process that holds the other end is gone.
    #[arg(long, hide = true)]
    pub with_parent: bool,
}
