//! Commands that make models, judge them, and run what does so: one file each.

mod compare;
mod cross_validate;
mod evaluate;
mod gate;
mod inspect;
mod scheduler;
mod search;
mod train;
mod trainer;
mod tune;
pub mod up;

use crate::cli::training::TrainingCommand;
use crate::demo;
use anyhow::Result;
use refit_trainer::TrainError;
use std::path::PathBuf;

/// Runs the subcommand.
///
/// # Errors
/// What went wrong, as a chain of causes.
pub fn run(command: TrainingCommand, cache: Option<PathBuf>) -> Result<()> {
    match command {
        TrainingCommand::Demo(arguments) => demo::run(&arguments, cache),
        TrainingCommand::Up(arguments) => up::run(&arguments, cache),
        TrainingCommand::Inspect(arguments) => inspect::run(&arguments, cache),
        TrainingCommand::Train(arguments) => train::run(&arguments, cache),
        TrainingCommand::Trainer(arguments) => trainer::run(&arguments, cache),
        TrainingCommand::CrossValidate(arguments) => cross_validate::run(&arguments, cache),
        TrainingCommand::Search(arguments) => search::run(&arguments, cache),
        TrainingCommand::Tune(arguments) => tune::run(&arguments, cache),
        TrainingCommand::Evaluate(arguments) => evaluate::run(&arguments, cache),
        TrainingCommand::Gate(arguments) => gate::run(&arguments, cache),
        TrainingCommand::Compare(arguments) => compare::run(&arguments, cache),
        TrainingCommand::Scheduler(arguments) => scheduler::run(&arguments, cache),
    }
}

/// Whether a training was asked to end and can be taken up: no complaint.
pub fn was_stopped(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(TrainError::Stopped { .. })) || error.is::<train::Away>()
}

/// The time for a report.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
