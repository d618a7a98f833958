//! `refit scheduler`: the loop.

use crate::cli::training::SchedulerArguments;
use crate::home::{Home, block_on};
use crate::signals::stop_signal;
use anyhow::{Context, Result};
use refit_scheduler::SchedulerConfig;
use std::path::PathBuf;

pub fn run(arguments: &SchedulerArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    if let Some(sentence) = home.spec.no_refit() {
        anyhow::bail!("there is nothing to schedule: {sentence}");
    }
    if home.spec.serve.tls.is_some() && home.spec.serve.monitoring.is_none() && arguments.inference.is_empty()
    {
        anyhow::bail!(
            "the scheduler reads the inference service's metrics in plain HTTP, and serve.tls encrypts everything at \
             serve.address: set serve.monitoring, such as \"127.0.0.1:8083\""
        );
    }
    let binary = std::env::current_exe().context("this program cannot find itself")?;
    let mut config = SchedulerConfig::from_spec(home.spec, &home.spec_path, &home.path, &binary);
    config.cache = Some(home.cache);
    if !arguments.inference.is_empty() {
        config.inference = arguments.inference.clone();
    }
    config.inference_token.clone_from(&arguments.inference_token);
    block_on(async { Ok(refit_scheduler::run(config, stop_signal(arguments.with_parent)).await?) })
}
