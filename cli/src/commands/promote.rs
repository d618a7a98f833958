//! `refit promote`: a person decides.

use crate::cli::PromoteArguments;
use crate::home::{Home, block_on};
use anyhow::Result;
use refit_store::NewDecision;
use serde_json::json;
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
        let by = whoami();
        let deployment = store
            .set_champion(home.model(), now.generation, &arguments.version, &arguments.reason, &by)
            .await?;
        store
            .record_decision(&by_hand(home.model(), "promote", &arguments.reason, deployment.generation, &by))
            .await?;
        Ok(deployment)
    })?;
    let serving =
        deployment.champion.as_ref().map_or(arguments.version.as_str(), |champion| &champion.version);
    println!("version {serving} of {} serves now (change {})", home.model(), deployment.generation);
    Ok(())
}

/// The record of a person's decision.
pub fn by_hand(model: &str, kind: &str, reason: &str, generation: i64, by: &str) -> NewDecision {
    NewDecision {
        model: model.to_owned(),
        key: format!("{kind} by hand {generation}"),
        kind: kind.to_owned(),
        reason: reason.to_owned(),
        evidence: json!({ "by": by, "generation": generation }),
    }
}

/// Who decides: the user of this machine.
pub fn whoami() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "a person".to_owned())
}
