//! `refit trainer`: training as a service.

use crate::cli::training::TrainerArguments;
use crate::home::block_on;
use crate::signals::stop_signal;
use anyhow::{Context, Result};
use refit_training::TrainerConfig;
use std::path::PathBuf;

pub fn run(arguments: &TrainerArguments, cache: Option<PathBuf>) -> Result<()> {
    let token = arguments.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
    let config = TrainerConfig {
        home: std::path::absolute(&arguments.home)?,
        cache: std::path::absolute(cache.unwrap_or_else(refit_spec::default_cache))?,
        binary: std::env::current_exe().context("this program cannot find itself")?,
        address: arguments.address,
        token: token.map(str::to_owned),
        devices: arguments.devices.clone(),
        max_queued: arguments.max_queued,
        max_attempts: 3,
    };
    block_on(async { Ok(refit_training::serve(config, stop_signal(arguments.with_parent)).await?) })
}
