//! `refit compare`: two versions on the same rows, by paired tests.

use super::now;
use crate::cli::training::CompareArguments;
use crate::home::{Home, block_on};
use crate::progress::Progress;
use crate::table;
use anyhow::Result;
use refit_artifact::files;
use refit_trainer::report::render_comparison;
use refit_trainer::{CompareRequest, ModelComparison, compare, write_whole};
use std::path::{Path, PathBuf};

pub fn run(arguments: &CompareArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let (first, second) = (artifact(&home, &arguments.first)?, artifact(&home, &arguments.second)?);
    let request = CompareRequest {
        spec: &home.spec,
        cache: &home.cache,
        artifacts: [&first, &second],
        names: [arguments.first.clone(), arguments.second.clone()],
        rows: arguments.rows.as_deref(),
        engines: &home.engines(),
    };
    let mut progress = Progress::new();
    let found = compare(&request, &mut |event| progress.show(event))?;
    drop(progress);
    let report = arguments.report.clone().unwrap_or_else(|| home.path.join("comparison.html"));
    write_whole(&report, render_comparison(home.model(), &now(), &found).as_bytes())?;
    if arguments.json {
        println!("{}", serde_json::to_string(&found)?);
        return Ok(());
    }
    print(&found);
    println!("report: {}", report.display());
    Ok(())
}

/// A version of the model, or the folder of an artifact.
fn artifact(home: &Home, named: &str) -> Result<PathBuf> {
    let folder = Path::new(named);
    if folder.join(files::MANIFEST).is_file() {
        return Ok(folder.to_owned());
    }
    Ok(block_on(home.artifact_of(Some(named)))?.1)
}

fn print(found: &ModelComparison) {
    let accuracy = &found.accuracy;
    let signed = |value: f64| format!("{value:+.4}");
    let mut rows = vec![[
        "accuracy".to_owned(),
        format!("{:.4}", accuracy.champion_accuracy),
        format!("{:.4}", accuracy.challenger_accuracy),
        signed(accuracy.difference),
        format!("{} to {}", signed(accuracy.difference_lower), signed(accuracy.difference_upper)),
    ]];
    rows.extend(found.figures.iter().map(|figure| {
        let difference = &figure.difference;
        [
            figure.name.clone(),
            format!("{:.4}", figure.values[0].estimate),
            format!("{:.4}", figure.values[1].estimate),
            signed(difference.estimate),
            format!("{} to {}", signed(difference.lower), signed(difference.upper)),
        ]
    }));
    let [first, second] = &found.names;
    table::print(["figure", first.as_str(), second.as_str(), "difference", "95 % interval"], &rows);
    println!(
        "on {} {}; equal at p = {:.4} (McNemar, exact)",
        accuracy.rows, accuracy.rows_of, accuracy.p_equal
    );
}
