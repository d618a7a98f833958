//! `refit models`: the versions, and which of them serves.

use crate::cli::ListArguments;
use crate::home::{Home, block_on};
use crate::table;
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;

pub fn run(arguments: &ListArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let (versions, deployment) = block_on(async {
        let store = home.store().await?;
        Ok((store.versions(Some(home.model())).await?, store.deployment(home.model()).await?))
    })?;
    // The role of a version, and since when and why it has it.
    let serves = |version: &str| {
        let champion = deployment.champion.as_ref().filter(|champion| champion.version == version);
        let canary = deployment.canary.as_ref().filter(|canary| canary.version == version);
        match (champion, canary) {
            (Some(champion), _) => {
                let since = champion.since.strftime("%Y-%m-%d %H:%M:%S");
                (Some("champion"), format!("serves since {since}: {}", champion.reason))
            }
            (None, Some(canary)) => (
                Some("canary"),
                format!("canary with {} % of the requests: {}", canary.percent, canary.reason),
            ),
            (None, None) => match deployment.shadow.as_ref().filter(|shadow| shadow.version == version) {
                Some(shadow) => (
                    Some("shadow"),
                    format!("gets a copy of {} % of the requests: {}", shadow.percent, shadow.reason),
                ),
                None => (None, String::new()),
            },
        }
    };
    if arguments.json {
        let rows: Vec<_> = versions
            .iter()
            .map(|version| {
                let (role, serving) = serves(&version.version);
                json!({
                    "version": version.version, "status": version.status.name(), "parent": version.parent,
                    "created_at": version.created_at, "metrics": version.metrics,
                    "role": role, "serving": serving,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        let rows: Vec<[String; 5]> = versions
            .iter()
            .map(|version| {
                let accuracy = version.metrics["accuracy"].as_f64();
                [
                    version.version.clone(),
                    version.status.name().to_owned(),
                    version.parent.clone().unwrap_or_default(),
                    accuracy.map(|accuracy| format!("{accuracy:.4}")).unwrap_or_default(),
                    serves(&version.version).1,
                ]
            })
            .collect();
        table::print(["version", "status", "parent", "accuracy", "serving"], &rows);
    }
    Ok(())
}
