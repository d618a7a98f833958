//! `refit gate`: the evidence for or against a promotion.

use crate::cli::training::GateArguments;
use crate::home::{Home, block_on};
use crate::progress::Progress;
use anyhow::Result;
use refit_trainer::{GateRequest, gate};
use std::path::PathBuf;

pub fn run(arguments: &GateArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let (_, champion) = block_on(home.artifact_of(Some(&arguments.champion)))?;
    let (_, challenger) = block_on(home.artifact_of(Some(&arguments.challenger)))?;
    let request = GateRequest {
        spec: &home.spec,
        cache: &home.cache,
        champion: &champion,
        challenger: &challenger,
        recent: arguments.recent.as_deref(),
        engines: &home.engines(),
    };
    let mut progress = Progress::new();
    let evidence = gate(&request, &mut |event| progress.show(event))?;
    drop(progress);
    if arguments.json {
        println!("{}", serde_json::to_string(&evidence)?);
    } else {
        for reason in &evidence.reasons {
            println!("{reason}");
        }
        println!("{}", if evidence.passed { "the challenger may be promoted" } else { "the champion stays" });
    }
    Ok(())
}
