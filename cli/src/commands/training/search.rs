//! `refit search`: the best settings of the keys that `[search.space]` names.

use super::now;
use crate::cli::training::SearchArguments;
use crate::heap;
use crate::home::Home;
use crate::processes::stop_when_asked;
use crate::progress::Progress;
use crate::table;
use anyhow::Result;
use refit_trainer::report::render_search;
use refit_trainer::{Resume, Running, SearchOutcome, SearchRequest, Stop, search, write_whole};
use serde_json::json;
use std::path::PathBuf;

/// Trials that are shown.
const SHOWN: usize = 10;

pub fn run(arguments: &SearchArguments, cache: Option<PathBuf>) -> Result<()> {
    let home = Home::open(&arguments.spec, cache)?;
    let document = std::fs::read_to_string(&home.spec_path)?;
    heap::keep();
    let stop = Stop::default();
    let _listening = stop_when_asked(&stop, false);
    let request = SearchRequest {
        document: &document,
        spec: &home.spec,
        cache: &home.cache,
        home: &home.path,
        engines: &home.engines(),
        running: Running { resume: Resume::Never, stop },
    };
    let mut progress = Progress::new();
    let found = search(&request, &mut |event| progress.show(event))?;
    drop(progress);
    // Beside the spec, so that relative paths keep their meaning.
    let best = home.spec_path.with_extension("best.toml");
    write_whole(&best, found.best_spec.as_bytes())?;
    let report = arguments.report.clone().unwrap_or_else(|| found.folder.join("report.html"));
    write_whole(&report, render_search(home.model(), &now(), &found).as_bytes())?;
    if arguments.json {
        let mut outcome = serde_json::to_value(&found)?;
        outcome["best_spec_file"] = json!(best);
        outcome["report"] = json!(report);
        println!("{outcome}");
        return Ok(());
    }
    print(&found);
    println!("the best as a complete spec: {}", best.display());
    println!("report: {}", report.display());
    Ok(())
}

fn print(found: &SearchOutcome) {
    let mut order: Vec<_> = found.trials.iter().filter_map(|trial| Some((trial, trial.value?))).collect();
    let loss = |value: f64| if found.higher_is_better { -value } else { value };
    order.sort_by(|a, b| loss(a.1).total_cmp(&loss(b.1)));
    let rows: Vec<[String; 4]> = order
        .into_iter()
        .take(SHOWN)
        .map(|(trial, value)| {
            let settings: Vec<String> =
                trial.settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            [
                trial.number.to_string(),
                format!("{value:.4}"),
                format!("{} of {}", trial.epochs.len(), trial.planned_epochs),
                if settings.is_empty() { "the spec as it is".to_owned() } else { settings.join(", ") },
            ]
        })
        .collect();
    table::print(["trial", &format!("validation {}", found.metric), "epochs", "settings"], &rows);
    let figures: Vec<String> =
        found.best.figures.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    println!(
        "trial {} on the {} test rows, which no trial was compared by: {}",
        found.best.number,
        found.test_rows,
        figures.join(", ")
    );
}
