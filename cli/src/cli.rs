//! The command line.

#[cfg(feature = "train")]
pub mod training;

use clap::{Args, Parser, Subcommand};
use std::io::IsTerminal;
use std::path::PathBuf;

const EXAMPLES: &str = if cfg!(feature = "train") {
    "Example:\n  refit demo              see a model refit itself\n  refit up refit.toml     bring up your own"
} else {
    "This build serves and operates; one with the feature `train` trains.\n\nExample:\n  refit serve refit.toml"
};

/// Fine-tunes a model, serves it, watches it, and refits it when it degrades.
#[derive(Parser)]
#[command(
    name = "refit",
    version,
    after_help = EXAMPLES
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
    #[cfg(feature = "train")]
    #[command(flatten)]
    Training(training::TrainingCommand),
    /// Checks refit.toml and prints every problem at once.
    #[command(after_help = "Example:\n  refit check refit.toml")]
    Check(CheckArguments),
    /// Runs the inference service.
    #[command(after_help = "Example:\n  refit serve refit.toml")]
    Serve(ServeArguments),
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
pub struct CheckArguments {
    #[command(flatten)]
    pub spec: SpecArguments,
    /// Print the effective configuration, defaults included.
    #[arg(long)]
    pub effective: bool,
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
    let service = match &arguments.command {
        #[cfg(feature = "train")]
        Command::Training(command) => command.is_service(),
        command => matches!(command, Command::Serve(_)),
    };
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
