//! One file a subcommand.

mod check;
mod compare;
mod cross_validate;
mod decisions;
mod engine;
mod evaluate;
mod gate;
mod inspect;
mod models;
mod predict;
mod promote;
mod rollback;
mod scheduler;
mod search;
mod serve;
mod shadow;
mod token;
pub mod train;
mod trainer;
mod tune;
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
        Command::Inspect(arguments) => inspect::run(&arguments, cache)?,
        Command::Train(arguments) => train::run(&arguments, cache)?,
        Command::Trainer(arguments) => trainer::run(&arguments, cache)?,
        Command::Compare(arguments) => compare::run(&arguments, cache)?,
        Command::CrossValidate(arguments) => cross_validate::run(&arguments, cache)?,
        Command::Search(arguments) => search::run(&arguments, cache)?,
        Command::Tune(arguments) => tune::run(&arguments, cache)?,
        Command::Evaluate(arguments) => evaluate::run(&arguments, cache)?,
        Command::Gate(arguments) => gate::run(&arguments, cache)?,
        Command::Serve(arguments) => serve::run(&arguments, cache)?,
        Command::Scheduler(arguments) => scheduler::run(&arguments, cache)?,
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

/// The time for a report.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
