//! One file a subcommand; those that train are in `training`.

mod check;
mod decisions;
mod engine;
mod models;
mod predict;
mod promote;
mod rollback;
mod serve;
mod shadow;
mod token;
#[cfg(feature = "train")]
pub mod training;

use crate::cli::{Arguments, Command};
use anyhow::Result;
use std::process::ExitCode;

/// Runs the subcommand.
///
/// # Errors
/// What went wrong, as a chain of causes.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let cache = arguments.cache;
    match arguments.command {
        #[cfg(feature = "train")]
        Command::Training(command) => training::run(command, cache)?,
        Command::Check(arguments) => return check::run(&arguments, cache),
        Command::Serve(arguments) => serve::run(&arguments, cache)?,
        Command::Predict(arguments) => predict::run(&arguments, cache)?,
        Command::Models(arguments) => models::run(&arguments, cache)?,
        Command::Promote(arguments) => promote::run(&arguments, cache)?,
        Command::Canary(arguments) => shadow::canary(&arguments, cache)?,
        Command::Shadow(arguments) => shadow::shadow(&arguments, cache)?,
        Command::Rollback(arguments) => rollback::run(&arguments, cache)?,
        Command::Decisions(arguments) => decisions::run(&arguments, cache)?,
        Command::Token(arguments) => token::run(&arguments)?,
        Command::Engine(arguments) => engine::run(&arguments, cache)?,
    }
    Ok(ExitCode::SUCCESS)
}
