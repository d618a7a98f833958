//! `refit canary` and `refit shadow`: a version is tried on requests, with answers or without.

use super::promote::whoami;
use crate::cli::{CanaryArguments, ShadowArguments};
use crate::home::{Home, block_on};
use anyhow::Result;
use refit_scheduler::operate::{self, Order};
use std::path::PathBuf;

pub fn canary(arguments: &CanaryArguments, cache: Option<PathBuf>) -> Result<()> {
    let (home, version) = (Home::open(&arguments.spec, cache)?, &arguments.version);
    let (_, artifact) = block_on(home.artifact_of(Some(version)))?;
    refit_artifact::Bundle::open(artifact)?;
    let order = Order { model: home.model(), reason: &arguments.reason, by: &whoami() };
    let deployment = block_on(async {
        Ok(operate::canary(&home.store().await?, order, version, arguments.percent).await?)
    })?;
    let (model, percent, change) = (home.model(), arguments.percent, deployment.generation);
    println!("version {version} of {model} answers {percent} % of the requests now (change {change})");
    Ok(())
}

pub fn shadow(arguments: &ShadowArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let order = Order { model: home.model(), reason: &arguments.reason, by: &whoami() };
    let Some(version) = &arguments.version else {
        block_on(async { Ok(operate::end_shadow(&home.store().await?, order).await?) })?;
        println!("{} has no shadow now", home.model());
        return Ok(());
    };
    let (_, artifact) = block_on(home.artifact_of(Some(version)))?;
    refit_artifact::Bundle::open(artifact)?;
    let deployment = block_on(async {
        Ok(operate::shadow(&home.store().await?, order, version, arguments.percent).await?)
    })?;
    let (model, percent, change) = (home.model(), arguments.percent, deployment.generation);
    println!("version {version} of {model} gets a copy of {percent} % of the requests now (change {change})");
    Ok(())
}
