//! What a gate found the challenger's accuracy to be.

use std::path::Path;

use serde::Deserialize;

use crate::{SchedulerError, memory::BaselineRecord};

/// With fewer recent rows the test rows say more about the challenger.
const LEAST_RECENT_ROWS: u64 = 30;

#[derive(Deserialize)]
struct Outcome {
    recent: Option<Comparison>,
    test: Option<Comparison>,
}

#[derive(Deserialize)]
struct Comparison {
    rows: u64,
    challenger_accuracy: f64,
}

/// The errors that live labels are judged against.
pub(super) fn baseline(outcome: &Path) -> Result<Option<BaselineRecord>, SchedulerError> {
    let bytes = std::fs::read(outcome).map_err(SchedulerError::file("read", outcome))?;
    let Outcome { recent, test } = serde_json::from_slice(&bytes)
        .map_err(|source| SchedulerError::RunFolder { path: outcome.to_owned(), source })?;
    let measured = recent.filter(|recent| recent.rows >= LEAST_RECENT_ROWS).or(test);
    Ok(measured.filter(|measured| measured.rows > 0).map(|Comparison { rows, challenger_accuracy }| {
        let errors = ((1.0 - challenger_accuracy.clamp(0.0, 1.0)) * rows as f64).round() as u64;
        BaselineRecord { errors, rows }
    }))
}
