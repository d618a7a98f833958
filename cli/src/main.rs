//! `refit`: fine-tunes a model, serves it, watches it, and refits it when it degrades.

mod cli;
mod commands;
mod demo;
mod heap;
mod home;
mod processes;
mod progress;
mod table;

use clap::Parser;
use std::process::ExitCode;

// Big tensors come and go in every training step, which the system's allocator maps anew each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    cli::start_logging(&arguments);
    match commands::run(arguments) {
        Ok(code) => code,
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
