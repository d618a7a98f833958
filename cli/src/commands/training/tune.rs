//! `refit tune lr`: a learning rate that suits the model and the rows.

use super::now;
use crate::cli::training::{TuneArguments, TuneTarget};
use crate::heap;
use crate::home::Home;
use crate::processes::stop_when_asked;
use crate::progress::Progress;
use anyhow::{Result, ensure};
use refit_trainer::report::render_range_test;
use refit_trainer::{RangeTestRequest, Resume, Running, Stop, find_learning_rate, write_whole};
use std::path::PathBuf;

pub fn run(arguments: &TuneArguments, cache: Option<PathBuf>) -> Result<()> {
    let TuneTarget::Lr(arguments) = &arguments.target;
    let (lowest, highest) = (arguments.lowest, arguments.highest);
    ensure!(
        0.0 < lowest && lowest < highest && highest.is_finite(),
        "a test from {lowest} to {highest} has no rates: --lowest has to be above 0 and below --highest"
    );
    let home = Home::open(&arguments.spec, cache)?;
    heap::keep();
    let stop = Stop::default();
    let _listening = stop_when_asked(&stop, false);
    let request = RangeTestRequest {
        spec: &home.spec,
        lowest,
        highest,
        steps: arguments.steps as usize,
        cache: &home.cache,
        engines: &home.engines(),
        running: Running { resume: Resume::Never, stop },
    };
    let mut progress = Progress::new();
    let test = find_learning_rate(&request, &mut |event| progress.show(event))?;
    drop(progress);
    let report = arguments.report.clone().unwrap_or_else(|| home.path.join("learning-rate.html"));
    write_whole(&report, render_range_test(home.model(), &now(), &test).as_bytes())?;
    if arguments.json {
        println!("{}", serde_json::to_string(&test)?);
        return Ok(());
    }
    match test.suggested {
        Some(rate) => println!("learning_rate = {rate:.1e} is suggested; the spec has {:.1e}", test.in_spec),
        None => {
            println!("the loss falls at no rate from {lowest:e} to {highest:e}: look at the rows and labels")
        }
    }
    println!("report: {}", report.display());
    Ok(())
}
