//! `refit check`: every problem of the spec, and nothing else.

use crate::cli::CheckArguments;
use crate::home::Home;
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

pub fn run(arguments: &CheckArguments, cache: Option<PathBuf>) -> Result<ExitCode> {
    let home = match Home::open(&arguments.spec, cache) {
        Ok(home) => home,
        Err(error) => {
            for cause in error.chain() {
                eprintln!("{cause}");
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    if arguments.effective {
        print!("{}", home.spec.to_toml());
    } else {
        println!("{} is good: {} from {}", home.spec_path.display(), home.model(), home.spec.model.base);
        if let Some(sentence) = home.spec.no_refit() {
            println!("{sentence}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
