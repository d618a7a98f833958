//! `refit promote`: a person decides.

use crate::cli::PromoteArguments;
use crate::home::{Home, block_on};
use anyhow::Result;
use refit_scheduler::operate::{self, Order};
use std::path::PathBuf;

pub fn run(arguments: &PromoteArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let (_, artifact) = block_on(home.artifact_of(Some(&arguments.version)))?;
    refit_artifact::Bundle::open(artifact)?;
    let deployment = block_on(async {
        let store = home.store().await?;
        let now = store.deployment(home.model()).await?;
        if arguments.if_none && now.champion.is_some() {
            return Ok(now);
        }
        let order = Order { model: home.model(), reason: &arguments.reason, by: &whoami() };
        Ok(operate::promote(&store, order, &arguments.version).await?)
    })?;
    let serving =
        deployment.champion.as_ref().map_or(arguments.version.as_str(), |champion| &champion.version);
    println!("version {serving} of {} serves now (change {})", home.model(), deployment.generation);
    Ok(())
}

/// Who decides: the user of this machine.
pub fn whoami() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "a person".to_owned())
}
