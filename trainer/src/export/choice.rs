//! Which file is served: int8 where it is as good and faster on this machine, in the engine that serves.

use super::{Forms, answer, session};
use crate::TrainError;
use crate::examples::Example;
use crate::task::Task;
use refit_artifact::Precision;
use refit_engine::{Engine, Session};
use refit_spec::{Quantize, QuantizeFormat};
use refit_stats::{
    Bootstrap, Interval, PairedCounts, StatsError, non_inferiority, percentile_interval, resample, wilson,
};
use std::time::Instant;

/// Level of the intervals.
const CONFIDENCE: f64 = 0.95;
/// Rows that are timed, and how often.
const TIMED_ROWS: usize = 48;
const TIMED_ROUNDS: usize = 3;

/// One file that could be served.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its precision.
    pub precision: Precision,
    /// Its size.
    pub bytes: usize,
    /// Mean rightness on the held-out rows: accuracy where an answer is right or wrong.
    pub accuracy: Interval,
    /// Median time of one row, alone in its batch, on one thread, in milliseconds.
    pub latency_ms: f64,
}

/// What is served, and why.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The precision of the file that is served.
    pub precision: Precision,
    /// Why, as one sentence.
    pub reason: String,
    /// float32 and, if it was made, int8.
    pub candidates: Vec<Candidate>,
    /// Accuracy that int8 loses against float32, with its paired interval.
    pub accuracy_drop: Option<Interval>,
    /// Time of float32 over time of int8.
    pub speedup: Option<f64>,
}

/// Measures both files on held-out `rows` of `task` in `engine` and applies the rule of the spec.
///
/// # Errors
/// When the engine fails, or there are no rows.
pub fn choose(
    forms: &Forms,
    task: &dyn Task,
    rows: &[Example],
    engine: &dyn Engine,
    rule: &Quantize,
) -> Result<Choice, TrainError> {
    let mut float32 = session(engine, &forms.float32)?;
    if rule.format == QuantizeFormat::None {
        let right = outcomes(float32.as_mut(), task, rows)?;
        let [latency] = latencies([float32.as_mut()], task.output(), rows)?;
        return Ok(Choice {
            precision: Precision::Float32,
            reason: "float32 is served: [export] quantize asks for no int8 file".to_owned(),
            candidates: vec![candidate(Precision::Float32, forms.float32.len(), &right, latency)?],
            accuracy_drop: None,
            speedup: None,
        });
    }
    let mut int8 = session(engine, &forms.int8)?;
    let (right32, right8) =
        rayon::join(|| outcomes(float32.as_mut(), task, rows), || outcomes(int8.as_mut(), task, rows));
    let (right32, right8) = (right32?, right8?);
    let [latency32, latency8] = latencies([float32.as_mut(), int8.as_mut()], task.output(), rows)?;
    let speedup = latency32 / latency8;
    let drop = lost(&right32, &right8, rule.max_drop)?;
    let (precision, reason) = decide(&drop, speedup, rule, rows.len(), engine.name());
    Ok(Choice {
        precision,
        reason,
        candidates: vec![
            candidate(Precision::Float32, forms.float32.len(), &right32, latency32)?,
            candidate(Precision::Int8, forms.int8.len(), &right8, latency8)?,
        ],
        accuracy_drop: Some(drop),
        speedup: Some(speedup),
    })
}

/// The rule itself: good enough with its interval, and faster by the asked-for factor.
fn decide(drop: &Interval, speedup: f64, rule: &Quantize, rows: usize, engine: &str) -> (Precision, String) {
    let measured = format!(
        "on {rows} held-out rows int8 loses {:.4} accuracy (95 % interval {:.4} to {:.4}) and is {speedup:.2} times as fast as float32 in {engine} on this machine",
        drop.estimate, drop.lower, drop.upper
    );
    let asked = format!("at most {} and at least {} were asked for", rule.max_drop, rule.min_speedup);
    let accurate = drop.upper <= rule.max_drop;
    let fast = speedup >= rule.min_speedup && speedup > 1.0;
    match (accurate, fast) {
        (true, true) => (Precision::Int8, format!("int8 is served: {measured}; {asked}")),
        (false, _) if drop.estimate <= rule.max_drop => (
            Precision::Float32,
            format!(
                "float32 is served: {measured}; {asked}, and {rows} rows do not show that the loss stays inside it"
            ),
        ),
        (false, _) => (
            Precision::Float32,
            format!("float32 is served: int8 is not accurate enough: {measured}; {asked}"),
        ),
        (true, false) => {
            (Precision::Float32, format!("float32 is served: int8 is not fast enough: {measured}; {asked}"))
        }
    }
}

fn candidate(
    precision: Precision,
    bytes: usize,
    right: &[f64],
    latency_ms: f64,
) -> Result<Candidate, TrainError> {
    let accuracy = match right_or_wrong(right) {
        Some(right) => {
            wilson(right.iter().filter(|right| **right).count() as u64, right.len() as u64, CONFIDENCE)?
        }
        None => mean(right)?,
    };
    Ok(Candidate { precision, bytes, accuracy, latency_ms })
}

/// Mean rightness that int8 loses on the same rows, with its paired interval.
fn lost(float32: &[f64], int8: &[f64], margin: f64) -> Result<Interval, StatsError> {
    let (Some(before), Some(after)) = (right_or_wrong(float32), right_or_wrong(int8)) else {
        let losses: Vec<f64> = float32.iter().zip(int8).map(|(before, after)| before - after).collect();
        return mean(&losses);
    };
    let counts = PairedCounts::from_outcomes(before.into_iter().zip(after));
    let gain = non_inferiority(counts, margin, CONFIDENCE)?.difference;
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

fn outcomes(session: &mut dyn Session, task: &dyn Task, rows: &[Example]) -> Result<Vec<f64>, TrainError> {
    let outputs =
        rows.iter().map(|row| answer(session, task.output(), row)).collect::<Result<Vec<_>, TrainError>>()?;
    task.rightness(rows, &outputs)
}

/// Median milliseconds a row of each session; the sessions take turns, so that a busy moment hits all.
fn latencies<const N: usize>(
    mut sessions: [&mut dyn Session; N],
    name: &str,
    rows: &[Example],
) -> Result<[f64; N], TrainError> {
    let mut times: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..TIMED_ROUNDS {
        for row in rows.iter().take(TIMED_ROWS) {
            for (session, times) in sessions.iter_mut().zip(&mut times) {
                let started = Instant::now();
                answer(*session, name, row)?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(drop: (f64, f64, f64), speedup: f64, expect: Precision, says: &str) {
        let (lower, estimate, upper) = drop;
        let rule = Quantize { format: QuantizeFormat::Auto, max_drop: 0.01, min_speedup: 1.2 };
        let (precision, reason) =
            decide(&Interval { estimate, lower, upper, confidence: 0.95 }, speedup, &rule, 500, "tract");
        assert_eq!(precision, expect, "{reason}");
        assert!(reason.contains(says), "{reason}");
    }

    #[test]
    fn int8_is_served_only_when_it_is_shown_to_be_good_and_fast() {
        check((-0.01, 0.0, 0.005), 2.0, Precision::Int8, "int8 is served");
        check((-0.01, 0.0, 0.02), 2.0, Precision::Float32, "do not show");
        check((0.01, 0.03, 0.05), 2.0, Precision::Float32, "not accurate enough");
        check((-0.01, 0.0, 0.005), 1.1, Precision::Float32, "not fast enough");
        check((-0.01, 0.0, 0.005), f64::NAN, Precision::Float32, "not fast enough");
    }
}
