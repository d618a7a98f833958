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
    let champion_version = deployment.champion.as_ref().map(|champion| champion.version.as_str());
    let canary_version = deployment.canary.as_ref().map(|canary| canary.version.as_str());
    let serves = |version: &str| {
        let champion = deployment.champion.as_ref().filter(|champion| champion.version == version);
        let canary = deployment.canary.as_ref().filter(|canary| canary.version == version);
        match (champion, canary) {
            (Some(champion), _) => {
                format!("serves since {}: {}", champion.since.strftime("%Y-%m-%d %H:%M:%S"), champion.reason)
            }
            (None, Some(canary)) => {
                format!("canary with {} % of the requests: {}", canary.percent, canary.reason)
            }
            (None, None) => String::new(),
        }
    };
    let role = |version: &str| {
        let is = |serving: Option<&str>| serving == Some(version);
        match (is(champion_version), is(canary_version)) {
            (true, _) => Some("champion"),
            (false, true) => Some("canary"),
            (false, false) => None,
        }
    };
    if arguments.json {
        let rows: Vec<_> = versions
            .iter()
            .map(|version| {
                json!({
                    "version": version.version, "status": version.status.name(), "parent": version.parent,
                    "created_at": version.created_at, "metrics": version.metrics,
                    "role": role(&version.version), "serving": serves(&version.version),
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
                    serves(&version.version),
                ]
            })
            .collect();
        table::print(["version", "status", "parent", "accuracy", "serving"], &rows);
    }
    Ok(())
}
