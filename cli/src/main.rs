//! `refit`: fine-tunes a model, serves it, watches it, and refits it when it degrades.

mod cli;
mod commands;
mod demo;
mod home;
mod processes;
mod progress;
mod table;

use clap::Parser;
use std::process::ExitCode;

// Keeps its heap: page faults are a third of a training step with the system's allocator.
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
