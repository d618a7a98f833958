//! `refit rollback`: one step back.

use super::promote::{by_hand, whoami};
use crate::cli::RollbackArguments;
use crate::home::{Home, block_on};
use anyhow::Result;
use std::path::PathBuf;

pub fn run(arguments: &RollbackArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let deployment = block_on(async {
        let store = home.store().await?;
        let now = store.deployment(home.model()).await?;
        let by = whoami();
        let deployment = store.rollback(home.model(), now.generation, &arguments.reason, &by).await?;
        store
            .record_decision(&by_hand(
                home.model(),
                "roll_back",
                &arguments.reason,
                deployment.generation,
                &by,
            ))
            .await?;
        Ok(deployment)
    })?;
    let version = deployment.champion.map(|champion| champion.version).unwrap_or_default();
    println!("version {version} of {} serves again", home.model());
    Ok(())
}
