//! `refit cross-validate`: how good models are that a spec makes of such data.

use super::now;
use crate::cli::training::CrossValidateArguments;
use crate::heap;
use crate::home::Home;
use crate::processes::stop_when_asked;
use crate::progress::Progress;
use crate::table;
use anyhow::Result;
use refit_trainer::report::render_cross_validation;
use refit_trainer::{
    CrossValidation, CrossValidationRequest, Resume, Running, Stop, cross_validate, write_whole,
};
use std::path::PathBuf;

pub fn run(arguments: &CrossValidateArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    heap::keep();
    let stop = Stop::default();
    let _listening = stop_when_asked(&stop, false);
    let request = CrossValidationRequest {
        spec: &home.spec,
        folds: arguments.folds,
        cache: &home.cache,
        home: &home.path,
        engines: &home.engines(),
        running: Running { resume: Resume::Never, stop },
    };
    let mut progress = Progress::new();
    let found = cross_validate(&request, &mut |event| progress.show(event))?;
    drop(progress);
    let page = render_cross_validation(home.model(), &now(), &found);
    let report = arguments.report.clone().unwrap_or_else(|| found.folder.join("report.html"));
    write_whole(&report, page.as_bytes())?;
    if arguments.json {
        println!("{}", serde_json::to_string(&found)?);
        return Ok(());
    }
    print(&found);
    println!("report: {}", report.display());
    Ok(())
}

fn print(found: &CrossValidation) {
    println!(
        "{} folds over {} rows of training and validation; {} test rows were not looked at",
        found.folds.len(),
        found.rows,
        found.test_rows_untouched
    );
    let rows: Vec<[String; 3]> = found
        .means
        .iter()
        .map(|(name, value)| {
            [
                name.clone(),
                format!("{:.4}", value.estimate),
                format!("{:.4} to {:.4}", value.lower, value.upper),
            ]
        })
        .collect();
    table::print(["figure", "mean over folds", "95 % interval (corrected resampled t)"], &rows);
    println!(
        "all rows together: rightness {:.4} ({:.4} to {:.4}, bootstrap over {})",
        found.pooled.estimate, found.pooled.lower, found.pooled.upper, found.resampled
    );
}
