//! `refit evaluate`: how good a version is on labelled rows.

use crate::cli::EvaluateArguments;
use crate::home::{Home, block_on};
use crate::progress::Progress;
use crate::table;
use anyhow::Result;
use refit_stats::Interval;
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
    println!("{} {version} on {} rows", home.model(), evaluation.metrics.rows);
    let line = |name: &str, value: Interval, baseline: Option<Interval>| {
        let baseline = baseline.map(|baseline| format!("{:.4}", baseline.estimate)).unwrap_or_default();
        [
            name.to_owned(),
            format!("{:.4}", value.estimate),
            format!("{:.4} to {:.4}", value.lower, value.upper),
            baseline,
        ]
    };
    let metrics = &evaluation.metrics;
    table::print(
        ["metric", "value", "95 % interval", "commonest class"],
        &[
            line("accuracy", metrics.accuracy, Some(evaluation.baseline.accuracy)),
            line("f1_macro", metrics.f1_macro, Some(evaluation.baseline.f1_macro)),
            line("precision_macro", metrics.precision_macro, None),
            line("recall_macro", metrics.recall_macro, None),
        ],
    );
    Ok(())
}
