//! `refit`: fine-tunes a model, serves it, watches it, and refits it when it degrades.
//!
//! Without the feature `train` it is what a serving machine needs: it serves, answers and operates, and trains nothing.

mod cli;
mod commands;
#[cfg(feature = "train")]
mod demo;
#[cfg(feature = "train")]
mod events;
mod heap;
mod home;
#[cfg(feature = "train")]
mod processes;
#[cfg(feature = "train")]
mod progress;
mod signals;
mod table;

use clap::Parser;
use std::process::ExitCode;

// Big tensors come and go in every training step, which the system's allocator maps anew each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a training that was asked to end and can be taken up (`EX_TEMPFAIL`).
#[cfg(feature = "train")]
const STOPPED: u8 = 75;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    cli::start_logging(&arguments);
    match commands::run(arguments) {
        Ok(code) => code,
        #[cfg(feature = "train")]
        Err(error) if commands::training::was_stopped(&error) => {
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
