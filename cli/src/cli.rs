//! The command line.

use clap::{Args, Parser, Subcommand};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Fine-tunes a model, serves it, watches it, and refits it when it degrades.
#[derive(Parser)]
#[command(
    name = "refit",
    version,
    after_help = "Example:\n  refit demo              see a model refit itself\n  refit up refit.toml     bring up your own"
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    /// Where refit keeps downloads, computed features and engines [default: ~/.cache/refit].
    #[arg(long, global = true, env = "REFIT_CACHE", hide_env_values = true)]
    pub cache: Option<PathBuf>,
    /// Log as JSON, one object a line.
    #[arg(long, global = true)]
    pub log_json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Shows a model that refits itself, on real data, within five minutes.
    #[command(after_help = "Example:\n  refit demo --json figures.json --stay")]
    Demo(DemoArguments),
    /// Trains version 1 if there is none, then serves, watches and refits.
    #[command(after_help = "Example:\n  refit up refit.toml")]
    Up(SpecArguments),
    /// Checks refit.toml and prints every problem at once.
    #[command(after_help = "Example:\n  refit check refit.toml")]
    Check(CheckArguments),
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
    /// Runs the inference service.
    #[command(after_help = "Example:\n  refit serve refit.toml")]
    Serve(ServeArguments),
    /// Runs the scheduler: observes, decides, trains, promotes.
    #[command(after_help = "Example:\n  refit scheduler refit.toml --inference http://127.0.0.1:8080")]
    Scheduler(SchedulerArguments),
    /// Answers texts with a version, without a service.
    #[command(after_help = "Example:\n  refit predict refit.toml \"what a film\"")]
    Predict(PredictArguments),
    /// Lists the versions and which of them serves.
    #[command(after_help = "Example:\n  refit models refit.toml")]
    Models(ListArguments),
    /// Makes a version the one that serves.
    #[command(after_help = "Example:\n  refit promote refit.toml 2 --reason \"checked by hand\"")]
    Promote(PromoteArguments),
    /// Gives a version a share of the requests, on trial.
    #[command(after_help = "Example:\n  refit canary refit.toml 2 --percent 5 --reason \"first look\"")]
    Canary(CanaryArguments),
    /// Gives a version a copy of the requests, to compare its answers; it answers none.
    #[command(
        after_help = "Examples:\n  refit shadow refit.toml 2 --reason \"is it as good?\"\n  refit shadow refit.toml --end"
    )]
    Shadow(ShadowArguments),
    /// Goes back to the version that served before.
    #[command(after_help = "Example:\n  refit rollback refit.toml --reason \"complaints\"")]
    Rollback(RollbackArguments),
    /// Lists what was decided, and why.
    #[command(after_help = "Example:\n  refit decisions refit.toml")]
    Decisions(ListArguments),
    /// Makes a token for callers of the inference service, and the line that lets it in.
    #[command(
        after_help = "Example:\n  refit token ingest --scope predict --scope feedback --file tokens.txt"
    )]
    Token(TokenArguments),
    /// Lists inference engines, or installs one.
    #[command(
        after_help = "Examples:\n  refit engine install onnxruntime\n  refit engine install onnxruntime --device cuda"
    )]
    Engine(EngineArguments),
}

/// A spec and the home of its models.
#[derive(Args, Clone)]
pub struct SpecArguments {
    /// The file that says what the model is.
    #[arg(default_value = "refit.toml")]
    pub spec: PathBuf,
    /// Where versions, predictions and decisions are kept [default: .refit beside the spec].
    #[arg(long)]
    pub home: Option<PathBuf>,
    /// Where relative paths of the spec start, if not in its folder.
    #[arg(long, hide = true)]
    pub folder: Option<PathBuf>,
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
pub struct CheckArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Print the effective configuration, defaults included.
    #[arg(long)]
    pub effective: bool,
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
pub struct ServeArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Serve this artifact only, without a store.
    #[arg(long)]
    pub artifact: Option<PathBuf>,
    /// Address and port, in place of the spec's.
    #[arg(long)]
    pub address: Option<std::net::SocketAddr>,
    /// Stop when standard input closes: the process that holds the other end is gone.
    #[arg(long, hide = true)]
    pub with_parent: bool,
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

#[derive(Args)]
pub struct PredictArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// The texts; standard input, one a line, when left out.
    pub texts: Vec<String>,
    /// The second text of each, or the question about it, where the model reads two.
    #[arg(long)]
    pub pair: Option<String>,
    /// The version; the one that serves when left out.
    #[arg(long)]
    pub version: Option<String>,
    /// Print the answers as JSON, one a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ListArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct PromoteArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// The version.
    pub version: String,
    /// Why.
    #[arg(long, default_value = "promoted by hand")]
    pub reason: String,
    /// Only if no version serves yet; for the job that makes the first one.
    #[arg(long)]
    pub if_none: bool,
}

#[derive(Args)]
pub struct CanaryArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// The version.
    pub version: String,
    /// Its share of the requests.
    #[arg(long)]
    pub percent: f64,
    /// Why.
    #[arg(long, default_value = "on trial by hand")]
    pub reason: String,
}

#[derive(Args)]
pub struct ShadowArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// The version.
    #[arg(required_unless_present = "end")]
    pub version: Option<String>,
    /// The share of the requests that it gets a copy of.
    #[arg(long, default_value_t = 100.0)]
    pub percent: f64,
    /// Takes the shadow away.
    #[arg(long, conflicts_with = "version")]
    pub end: bool,
    /// Why.
    #[arg(long, default_value = "compared by hand")]
    pub reason: String,
}

#[derive(Args)]
pub struct RollbackArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Why.
    #[arg(long, default_value = "rolled back by hand")]
    pub reason: String,
}

#[derive(Args)]
pub struct TokenArguments {
    /// Whose it is: what logs and limits call the caller.
    pub name: String,
    /// What it allows; may be given several times. admin allows everything.
    #[arg(long = "scope", default_values_t = ["predict".to_owned()], value_parser = ["predict", "feedback", "metrics", "admin"])]
    pub scopes: Vec<String>,
    /// Requests a second that it may make, in place of serve.limits.requests_per_second.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Requests that may come at once before the rate counts [default: one second's].
    #[arg(long, requires = "rate")]
    pub burst: Option<u32>,
    /// Add the line to this file, which serve.tokens names; a service that runs reads it within a second.
    #[arg(long)]
    pub file: Option<PathBuf>,
}

#[derive(Args)]
pub struct EngineArguments {
    #[command(subcommand)]
    pub action: EngineAction,
}

#[derive(Subcommand)]
pub enum EngineAction {
    /// What there is, and why something is not.
    List,
    /// Fetches an engine through pip into refit's cache.
    Install {
        /// The engine.
        #[arg(value_parser = ["onnxruntime"])]
        engine: String,
        /// What it is built for; cuda computes on GPUs of NVIDIA and on processors.
        #[arg(long, value_parser = ["cpu", "cuda"], default_value = "cpu")]
        device: String,
    },
}

/// Services log everything that an operator reads; other commands log warnings only.
pub fn start_logging(arguments: &Arguments) {
    let service = matches!(arguments.command, Command::Serve(_) | Command::Scheduler(_) | Command::Up(_));
    let default = if service {
        "info,tract_core=warn,tract_hir=warn,tract_onnx=warn,ort=warn"
    } else {
        "error,refit=warn"
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if arguments.log_json { builder.json().init() } else { builder.with_target(false).init() }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{Command, CommandFactory};
    use std::path::Path;

    fn describe(command: &mut Command, name: &str, page: &mut String) {
        let help = command.render_long_help().to_string();
        let help = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        page.push_str(&format!("\n## `{name}`\n\n```text\n{}\n```\n", help.trim_end()));
        for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
            let name = format!("{name} {}", sub.get_name());
            describe(sub, &name, page);
        }
    }

    #[test]
    fn the_committed_reference_is_what_the_command_says() {
        let mut page = "# The command line\n\nMade from `--help` of every command.\n".to_owned();
        let mut command = Arguments::command().term_width(100);
        command.build();
        describe(&mut command, "refit", &mut page);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        if std::env::var_os("REFIT_REGENERATE").is_some() {
            std::fs::write(&path, &page).expect("docs/cli.md can be written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == page,
            "docs/cli.md is stale: run REFIT_REGENERATE=1 cargo test --workspace reference"
        );
    }
}
