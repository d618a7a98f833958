//! `refit serve`: the inference service.

use crate::cli::ServeArguments;
use crate::heap;
use crate::home::{Home, block_on};
use crate::signals::stop_signal;
use anyhow::Result;
use refit_inference::{ServeConfig, Source};
use std::path::PathBuf;

pub fn run(arguments: &ServeArguments, cache: Option<PathBuf>) -> Result<()> {
    let mut config = match &arguments.artifact {
        Some(artifact) => {
            let cache = cache.unwrap_or_else(refit_spec::default_cache);
            ServeConfig::new(Source::Artifact(artifact.clone()), &cache)
        }
        None => {
            let home = Home::open(&arguments.spec, cache)?;
            ServeConfig::from_spec(&home.spec, &home.path, &home.cache)
        }
    };
    heap::stay_small();
    config.collect = heap::collect;
    if let Some(address) = arguments.address {
        config.address = address;
    }
    block_on(async { Ok(refit_inference::run(config, stop_signal(arguments.with_parent)).await?) })
}
