//! `refit`: fine-tunes a model, serves it, watches it, and refits it when it degrades.

mod cli;
mod commands;
mod demo;
mod events;
mod heap;
mod home;
mod processes;
mod progress;
mod table;

use clap::Parser;
use refit_trainer::TrainError;
use std::process::ExitCode;

// Big tensors come and go in every training step, which the system's allocator maps anew each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a training that was asked to end and can be taken up (`EX_TEMPFAIL`).
const STOPPED: u8 = 75;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    cli::start_logging(&arguments);
    match commands::run(arguments) {
        Ok(code) => code,
        // No complaint: whoever looks for one finds that the run can be taken up.
        Err(error)
            if matches!(error.downcast_ref(), Some(TrainError::Stopped { .. }))
                || error.is::<commands::train::Away>() =>
        {
            eprintln!("{error}");
            ExitCode::from(STOPPED)
        }
        Err(error) => {
            eprintln!("refit: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The chain of causes as one readable sentence; a cause that repeats what contains it is left out.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}
