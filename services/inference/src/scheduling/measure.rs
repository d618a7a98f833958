//! Measures a model at load: some runs of made-up texts, in the order of what they may teach, until the time for it is
//! used up. What cannot change a decision is not measured: batches where the engine's answers depend on them, several
//! threads where there is one core. A refit has the graph of the version before it, and so its curve.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use refit_predictor::{Input, Predictor, PredictorError, Worker};

use super::curve::{Curve, Pace, Point};

/// What makes two versions equally fast.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Likeness {
    pub model: String,
    pub engine: String,
    pub engine_version: String,
    pub precision: &'static str,
    pub device: &'static str,
    /// Of the file that is loaded: weights change with every refit, their number does not.
    pub file_bytes: u64,
    pub threads: usize,
}

/// The curves of this process.
#[derive(Clone, Default)]
pub(crate) struct Curves(Arc<Mutex<HashMap<Likeness, Arc<Curve>>>>);

/// The most time that measuring adds to a load; a run that has begun ends.
const TIME: Duration = Duration::from_millis(200);
/// Curves that are kept; a process that has seen more kinds of models measures anew.
const KEPT: usize = 256;
/// How far an answer may move with its neighbours, relative to outputs above 1.
const TOLERANCE: f32 = 1e-5;
const SHORT: usize = 8;
const MIDDLE: usize = 32;
const LONG: usize = 128;

/// Measures `predictor` on `threads` cores, or takes the curve of its like. `probes` are texts to compare answers by.
pub(crate) fn pace(
    predictor: &Predictor,
    likeness: Likeness,
    probes: &[Input<'_>],
    curves: &Curves,
) -> Result<Pace, PredictorError> {
    let mut narrow = predictor.worker()?;
    let threads = likeness.threads;
    let mut wide = if threads > 1 { predictor.wide_worker(threads)? } else { None };
    let shares = predictor.shares_runs();
    let known = curves.get(&likeness);
    let curve = match known {
        Some(curve) => curve,
        None => {
            let curve =
                Arc::new(measure(&mut narrow, wide.as_mut(), threads, shares, predictor.max_tokens())?);
            curves.keep(likeness, &curve);
            curve
        }
    };
    let mut largest_batch = if shares { curve.largest_worthwhile_batch() } else { 1 };
    if largest_batch > 1 && !same_together(&mut narrow, probes)? {
        largest_batch = 1;
    }
    let mut threads = curve.worthwhile_threads().unwrap_or(1);
    let answers_alike = match &mut wide {
        Some(wide) if threads > 1 => same_alone(wide, &mut narrow, probes)?,
        _ => false,
    };
    narrow.shrink()?;
    wide.as_mut().map_or(Ok(()), Worker::shrink)?;
    drop(wide);
    if !answers_alike {
        threads = 1;
    }
    if threads == 1 {
        predictor.drop_wide_workers();
    }
    Ok(Pace { curve, largest_batch, threads })
}

fn same_together(worker: &mut Worker, probes: &[Input<'_>]) -> Result<bool, PredictorError> {
    Ok(worker.deviation_together(probes)? <= TOLERANCE)
}

fn same_alone(wide: &mut Worker, narrow: &mut Worker, probes: &[Input<'_>]) -> Result<bool, PredictorError> {
    Ok(wide.deviation_from(narrow, probes)? <= TOLERANCE)
}

/// The runs that are measured, the most telling first: `(texts, tokens, threads)`.
fn plan(threads: usize, shares: bool, max_tokens: usize) -> Vec<(usize, usize, usize)> {
    let all = [
        (1, MIDDLE, 1),
        (1, MIDDLE, threads),
        (1, SHORT, 1),
        (4, SHORT, 1),
        (4, MIDDLE, 1),
        (1, SHORT, threads),
        (1, LONG, 1),
        (1, LONG, threads),
        (8, SHORT, 1),
        (8, MIDDLE, 1),
        (4, LONG, 1),
        (8, LONG, 1),
        // So far only what is much quicker than a CPU comes.
        (32, SHORT, 1),
        (32, MIDDLE, 1),
        (32, LONG, 1),
    ];
    let mut planned = Vec::new();
    for (texts, tokens, threads) in all {
        let run = (texts, tokens.min(max_tokens.max(1)), threads);
        if !planned.contains(&run) && (shares || texts == 1 && threads == 1) {
            planned.push(run);
        }
    }
    planned
}

fn measure(
    narrow: &mut Worker,
    mut wide: Option<&mut Worker>,
    threads: usize,
    shares: bool,
    max_tokens: usize,
) -> Result<Curve, PredictorError> {
    let started = Instant::now();
    let mut points = Vec::new();
    for (texts, tokens, threads) in plan(threads, shares, max_tokens) {
        if started.elapsed() >= TIME {
            break;
        }
        let worker = match &mut wide {
            Some(wide) if threads > 1 => &mut **wide,
            _ => &mut *narrow,
        };
        points.push(Point {
            texts,
            tokens,
            threads,
            seconds: quickest(worker, texts, tokens)?.as_secs_f64(),
        });
    }
    Ok(Curve::new(points))
}

/// The quickest of some runs: whatever else the machine does only adds to one. Long runs vary less.
fn quickest(worker: &mut Worker, texts: usize, tokens: usize) -> Result<Duration, PredictorError> {
    const ENOUGH: Duration = Duration::from_millis(12);
    const RUNS: usize = 5;
    let started = Instant::now();
    let mut quickest = worker.time_run(texts, tokens)?;
    for _ in 1..RUNS {
        if started.elapsed() >= ENOUGH {
            break;
        }
        quickest = quickest.min(worker.time_run(texts, tokens)?);
    }
    Ok(quickest)
}

impl Curves {
    fn get(&self, likeness: &Likeness) -> Option<Arc<Curve>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(likeness).cloned()
    }

    fn keep(&self, likeness: Likeness, curve: &Arc<Curve>) {
        let mut curves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if curves.len() >= KEPT {
            curves.clear();
        }
        curves.insert(likeness, Arc::clone(curve));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_change_a_decision_is_measured() {
        assert_eq!(plan(1, false, 512), [(1, 32, 1), (1, 8, 1), (1, 128, 1)]);
        assert_eq!(plan(4, false, 16), [(1, 16, 1), (1, 8, 1)]);
        let both = plan(4, true, 512);
        assert_eq!(both.len(), 15);
        assert!(both.contains(&(1, 128, 4)) && both.contains(&(8, 128, 1)), "{both:?}");
        assert!(plan(1, true, 512).iter().all(|&(_, _, threads)| threads == 1));
    }
}
