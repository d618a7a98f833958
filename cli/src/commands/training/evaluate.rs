//! `refit evaluate`: how good a version is on labelled rows.

use crate::cli::training::EvaluateArguments;
use crate::home::{Home, block_on};
use crate::progress::Progress;
use crate::table;
use anyhow::Result;
use refit_trainer::evaluate_artifact;
use std::path::PathBuf;

pub fn run(arguments: &EvaluateArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let (version, artifact) = block_on(home.artifact_of(arguments.version.as_deref()))?;
    let mut progress = Progress::new();
    let rows = arguments.rows.as_deref();
    let evaluation =
        evaluate_artifact(&home.spec, &home.cache, &artifact, rows, &home.engines(), &mut |event| {
            progress.show(event);
        })?;
    drop(progress);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
        return Ok(());
    }
    println!("{} {version} on {} rows; baseline: {}", home.model(), evaluation.rows(), evaluation.baseline());
    let lines: Vec<[String; 4]> = evaluation
        .figures()
        .into_iter()
        .map(|figure| {
            let value = figure.value;
            [
                figure.name,
                format!("{:.4}", value.estimate),
                format!("{:.4} to {:.4}", value.lower, value.upper),
                figure.baseline.map(|baseline| format!("{baseline:.4}")).unwrap_or_default(),
            ]
        })
        .collect();
    table::print(["metric", "value", "95 % interval", "baseline"], &lines);
    Ok(())
}
