//! Every test: those of the crates, and those that start the real thing.

use crate::{setup, shell};
use anyhow::Result;
use clap::Args;
use std::process::Command;

/// What to leave out.
#[derive(Args)]
pub struct Options {
    /// Take the machine as it is.
    #[arg(long)]
    no_setup: bool,
    /// Leave out the tests on real models, the whole loop among them; they take minutes and fetch packages.
    #[arg(long)]
    quick: bool,
    /// Passed on to `cargo test`, such as a name to filter by.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Sets up and runs them.
pub fn run(options: &Options) -> Result<()> {
    if !options.no_setup {
        setup::run()?;
    }
    let mut tests = with_environment(shell::cargo());
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    tests.arg("--");
    if !options.quick {
        tests.arg("--include-ignored");
    }
    shell::run(tests.args(&options.arguments))
}

/// Formatting, lints, licences.
pub fn check() -> Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    shell::run(shell::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    if shell::has("cargo-deny") {
        shell::run(shell::cargo().args(["deny", "check"]))?;
    } else {
        eprintln!("cargo-deny is not installed: licences and advisories were not checked");
    }
    Ok(())
}

/// The Python of the tests first on the path, and nothing skipped because something is missing.
fn with_environment(mut command: Command) -> Command {
    let mut path = vec![shell::root().join(".venv/bin")];
    path.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    if let Ok(path) = std::env::join_paths(path) {
        command.env("PATH", path);
    }
    command.env("REFIT_REQUIRE_ORT", "1").env("REFIT_REQUIRE_PARTS", "1");
    command
}
