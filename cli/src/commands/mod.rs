//! One file a subcommand.

mod check;
mod decisions;
mod engine;
mod evaluate;
mod gate;
mod models;
mod predict;
mod promote;
mod rollback;
mod scheduler;
mod serve;
pub mod train;
pub mod up;

use crate::cli::{Arguments, Command};
use crate::demo;
use anyhow::Result;
use std::process::ExitCode;

/// Runs the subcommand.
///
/// # Errors
/// What went wrong, as a chain of causes.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let cache = arguments.cache;
    match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments, cache)?,
        Command::Up(arguments) => up::run(&arguments, cache)?,
        Command::Check(arguments) => return check::run(&arguments, cache),
        Command::Train(arguments) => train::run(&arguments, cache)?,
        Command::Evaluate(arguments) => evaluate::run(&arguments, cache)?,
        Command::Gate(arguments) => gate::run(&arguments, cache)?,
        Command::Serve(arguments) => serve::run(&arguments, cache)?,
        Command::Scheduler(arguments) => scheduler::run(&arguments, cache)?,
        Command::Predict(arguments) => predict::run(&arguments, cache)?,
        Command::Models(arguments) => models::run(&arguments, cache)?,
        Command::Promote(arguments) => promote::run(&arguments, cache)?,
        Command::Rollback(arguments) => rollback::run(&arguments, cache)?,
        Command::Decisions(arguments) => decisions::run(&arguments, cache)?,
        Command::Engine(arguments) => engine::run(&arguments, cache)?,
    }
    Ok(ExitCode::SUCCESS)
}
