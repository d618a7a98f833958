//! `refit rollback`: one step back.

use super::promote::whoami;
use crate::cli::RollbackArguments;
use crate::home::{Home, block_on};
use anyhow::Result;
use refit_scheduler::operate::{self, Order};
use std::path::PathBuf;

pub fn run(arguments: &RollbackArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let deployment = block_on(async {
        let order = Order { model: home.model(), reason: &arguments.reason, by: &whoami() };
        Ok(operate::rollback(&home.store().await?, order).await?)
    })?;
    let version = deployment.champion.map(|champion| champion.version).unwrap_or_default();
    println!("version {version} of {} serves again", home.model());
    Ok(())
}
