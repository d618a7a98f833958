//! `refit decisions`: what was decided, and why.

use crate::cli::ListArguments;
use crate::home::{Home, block_on};
use crate::table;
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;

/// The latest decisions that are shown.
const SHOWN: u32 = 200;

pub fn run(arguments: &ListArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let decisions = block_on(async { Ok(home.store().await?.decisions(Some(home.model()), SHOWN).await?) })?;
    if arguments.json {
        let rows: Vec<_> = decisions
            .iter()
            .map(|decision| {
                json!({
                    "decided_at": decision.decided_at, "kind": decision.kind,
                    "reason": decision.reason, "evidence": decision.evidence,
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        let rows: Vec<[String; 3]> = decisions
            .into_iter()
            .map(|decision| [time(decision.decided_at), decision.kind, decision.reason])
            .collect();
        table::print(["when", "decision", "why"], &rows);
    }
    Ok(())
}

fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
