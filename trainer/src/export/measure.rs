//! How right and how fast a form is, on held-out rows in one engine.

use super::{answer, session};
use crate::TrainError;
use crate::examples::Example;
use crate::task::Task;
use rayon::prelude::*;
use refit_engine::{Engine, Session};
use refit_stats::{
    Bootstrap, Interval, PairedCounts, StatsError, non_inferiority, percentile_interval, resample, wilson,
};
use std::time::{Duration, Instant};

/// Level of the intervals.
const CONFIDENCE: f64 = 0.95;
/// Rows that are timed, and how often.
const TIMED_ROWS: usize = 48;
const TIMED_ROUNDS: usize = 3;
/// After this long no further round is begun.
const TIMED_FOR: Duration = Duration::from_secs(20);

/// The answers of `model` to each row, alone in its batch; rows are shared out over the cores.
///
/// # Errors
/// When the engine fails.
pub fn answers(
    engine: &dyn Engine,
    model: &[u8],
    name: &str,
    rows: &[Example],
) -> Result<Vec<Vec<f32>>, TrainError> {
    let first = session(engine, model)?;
    let share = rows.len().div_ceil(rayon::current_num_threads()).max(1);
    let mut sessions = vec![first];
    for _ in 1..rows.len().div_ceil(share) {
        sessions.push(sessions[0].fork()?);
    }
    let parts: Vec<Vec<Vec<f32>>> = sessions
        .par_iter_mut()
        .zip(rows.par_chunks(share))
        .map(|(session, rows)| rows.iter().map(|row| answer(session.as_mut(), name, row)).collect())
        .collect::<Result<_, TrainError>>()?;
    Ok(parts.into_iter().flatten().collect())
}

/// How right `model` is on each row.
///
/// # Errors
/// When the engine fails, or an output does not fit its row.
pub fn rightness(
    engine: &dyn Engine,
    model: &[u8],
    task: &dyn Task,
    rows: &[Example],
) -> Result<Vec<f64>, TrainError> {
    task.rightness(rows, &answers(engine, model, task.output(), rows)?)
}

/// Median milliseconds a row of each session; the sessions take turns, so that a busy moment hits all.
///
/// # Errors
/// When a session fails.
pub fn latencies(
    sessions: &mut [Box<dyn Session>],
    name: &str,
    rows: &[Example],
) -> Result<Vec<f64>, TrainError> {
    let mut times = vec![Vec::new(); sessions.len()];
    let began = Instant::now();
    for round in 0..TIMED_ROUNDS {
        if round > 0 && began.elapsed() > TIMED_FOR {
            break;
        }
        for row in rows.iter().take(TIMED_ROWS) {
            for (session, times) in sessions.iter_mut().zip(&mut times) {
                let started = Instant::now();
                answer(session.as_mut(), name, row)?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok(times.into_iter().map(median).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Mean rightness with its interval.
///
/// # Errors
/// When there are no rows.
pub fn mean_rightness(right: &[f64]) -> Result<Interval, StatsError> {
    match right_or_wrong(right) {
        Some(right) => {
            wilson(right.iter().filter(|right| **right).count() as u64, right.len() as u64, CONFIDENCE)
        }
        None => mean(right),
    }
}

/// Mean rightness that a form loses on the same rows, with its paired interval.
///
/// # Errors
/// When there are no rows.
pub fn lost(float32: &[f64], form: &[f64], margin: f64) -> Result<Interval, StatsError> {
    let (Some(before), Some(after)) = (right_or_wrong(float32), right_or_wrong(form)) else {
        let losses: Vec<f64> = float32.iter().zip(form).map(|(before, after)| before - after).collect();
        return mean(&losses);
    };
    let counts = PairedCounts::from_outcomes(before.into_iter().zip(after));
    let gain = non_inferiority(counts, margin.min(0.999), CONFIDENCE)?.difference;
    Ok(Interval { estimate: -gain.estimate, lower: -gain.upper, upper: -gain.lower, ..gain })
}

/// Rightness as yes or no, where there is nothing in between.
fn right_or_wrong(values: &[f64]) -> Option<Vec<bool>> {
    values
        .iter()
        .all(|value| *value == 0.0 || *value == 1.0)
        .then(|| values.iter().map(|v| *v == 1.0).collect())
}

/// A mean with its percentile bootstrap interval.
fn mean(values: &[f64]) -> Result<Interval, StatsError> {
    let mean_of = |rows: &[usize]| rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64;
    let settings = Bootstrap { confidence: CONFIDENCE, ..Bootstrap::default() };
    let draws = resample(values.len(), &settings, mean_of)?;
    let all: Vec<usize> = (0..values.len()).collect();
    Ok(percentile_interval(mean_of(&all), &draws, CONFIDENCE))
}

/// Mean squared difference of an output. The largest number there is where an answer is none any more: JSON knows no infinity.
pub fn mean_squared_difference(exact: &[Vec<f32>], answers: &[Vec<f32>]) -> f64 {
    let pairs = exact.iter().flatten().zip(answers.iter().flatten());
    let (sum, count) = pairs.fold((0.0, 0usize), |(sum, count), (a, b)| {
        (sum + (f64::from(*a) - f64::from(*b)).powi(2), count + 1)
    });
    let mean = sum / count.max(1) as f64;
    if mean.is_finite() { mean } else { f64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_that_answers_alike_needs_rows_enough_to_show_it() {
        let upper = |rows: usize| lost(&vec![1.0; rows], &vec![1.0; rows], 0.005).unwrap().upper;
        assert!(upper(300) > 0.005 && upper(800) < 0.005, "{} {}", upper(300), upper(800));
        // Where rightness is a number, alike is alike.
        assert_eq!(lost(&[0.5; 10], &[0.5; 10], 0.005).unwrap().upper, 0.0);
    }

    #[test]
    fn a_loss_is_counted_row_by_row() {
        let float32 = [1.0, 1.0, 1.0, 0.0];
        let form = [1.0, 0.0, 0.0, 1.0];
        let drop = lost(&float32, &form, 0.01).unwrap();
        assert!((drop.estimate - 0.25).abs() < 1e-12 && drop.lower < 0.25 && drop.upper > 0.25, "{drop:?}");
    }

    #[test]
    fn what_is_no_number_is_as_wrong_as_can_be() {
        assert_eq!(mean_squared_difference(&[vec![1.0, 2.0]], &[vec![1.0, 4.0]]), 2.0);
        assert_eq!(mean_squared_difference(&[vec![1.0]], &[vec![f32::NAN]]), f64::MAX);
    }
}
