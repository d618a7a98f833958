//! Champion against challenger on the same rows: the evidence for or against a promotion.

use crate::TrainError;
use crate::data::{self, Row};
use crate::event::Listener;
use crate::fetch::fetching;
use crate::task::is_right;
use refit_artifact::Bundle;
use refit_predictor::{Engines, LoadOptions, Prediction, Predictor};
use refit_spec::{GateSpec, Spec};
use refit_stats::{NonInferiority, PairedCounts, mcnemar_exact, non_inferiority};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// A slice with fewer rows is reported, not judged: its differences are noise.
const MIN_SLICE_ROWS: u64 = 30;

/// What is compared.
pub struct GateRequest<'a> {
    /// What the model is.
    pub spec: &'a Spec,
    /// refit's cache.
    pub cache: &'a Path,
    /// Artifact of the model that serves.
    pub champion: &'a Path,
    /// Artifact that wants to.
    pub challenger: &'a Path,
    /// Recent labelled rows that neither was trained on (`{"text", "label"}` a line).
    pub recent: Option<&'a Path>,
    /// Engines to answer with.
    pub engines: &'a Engines,
}

/// The verdict and all that it rests on.
#[derive(Debug, Clone, Serialize)]
pub struct GateEvidence {
    /// Whether the challenger may be promoted.
    pub passed: bool,
    /// A sentence for each condition, met or not.
    pub reasons: Vec<String>,
    /// The comparison on recent labelled rows, if there are any.
    pub recent: Option<Comparison>,
    /// The comparison on the frozen test rows.
    pub test: Comparison,
    /// The comparison on the reference rows of the spec: what the challenger forgot.
    pub reference: Option<Comparison>,
}

/// Two models on the same rows.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// What the rows are.
    pub rows_of: String,
    /// Rows.
    pub rows: u64,
    /// Share that the champion answers rightly.
    pub champion_accuracy: f64,
    /// Share that the challenger answers rightly.
    pub challenger_accuracy: f64,
    /// Challenger minus champion, lower and upper end of its interval.
    pub difference: f64,
    /// Lower end.
    pub difference_lower: f64,
    /// Upper end.
    pub difference_upper: f64,
    /// Probability of such a difference if the challenger were worse by the margin (exact, paired).
    pub p_not_worse: f64,
    /// Probability of such a difference if both were equal (McNemar, exact).
    pub p_equal: f64,
    /// Challenger minus champion by slice, with its rows.
    pub slices: BTreeMap<String, SliceDifference>,
    /// Median milliseconds of an answer.
    pub champion_latency_ms: f64,
    /// Median milliseconds of an answer.
    pub challenger_latency_ms: f64,
}

/// One slice.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SliceDifference {
    /// Rows in the slice.
    pub rows: u64,
    /// Accuracy of the challenger minus that of the champion.
    pub difference: f64,
}

/// Compares the two.
///
/// # Errors
/// When a model does not load, or there are no rows.
pub fn gate(request: &GateRequest<'_>, tell: &mut Listener<'_>) -> Result<GateEvidence, TrainError> {
    let rule = &request.spec.refit.gate;
    let champion = load(request.champion, request.engines)?;
    let challenger = load(request.challenger, request.engines)?;
    let data =
        fetching(request.spec, request.cache, tell, |fetch| data::load_dataset(&request.spec.data, fetch))?;
    let test = compare("the frozen test rows", &data.test.to_vec()?, &champion, &challenger, rule)?;
    let recent = match request.recent {
        None => None,
        Some(path) => {
            let rows = data::read_labelled_jsonl(path)?;
            if rows.is_empty() {
                None
            } else {
                Some(compare("recent labelled rows", &rows, &champion, &challenger, rule)?)
            }
        }
    };
    let reference =
        fetching(request.spec, request.cache, tell, |fetch| data::load_reference(&request.spec.data, fetch))?;
    let reference =
        reference.map(|rows| compare("reference rows", &rows, &champion, &challenger, rule)).transpose()?;
    let (passed, reasons) = judge(recent.as_ref(), &test, reference.as_ref(), rule);
    Ok(GateEvidence { passed, reasons, recent, test, reference })
}

pub(crate) fn load(path: &Path, engines: &Engines) -> Result<Predictor, TrainError> {
    Ok(Predictor::load(&Bundle::open(path)?, engines, &LoadOptions::default())?)
}

pub(crate) fn compare(
    rows_of: &str,
    rows: &[Row],
    champion: &Predictor,
    challenger: &Predictor,
    rule: &GateSpec,
) -> Result<Comparison, TrainError> {
    if rows.is_empty() {
        return Err(TrainError::Gate { why: format!("there are no {rows_of}") });
    }
    let right = |answers: Vec<Prediction>| -> Result<Vec<bool>, TrainError> {
        let right = answers.iter().zip(rows).map(|(answer, row)| is_right(row, &answer.answer));
        right.collect::<Option<_>>().ok_or_else(|| TrainError::Gate {
            why: format!("answers of {} are neither right nor wrong", champion.task()),
        })
    };
    let before = right(champion.predict_batch(rows)?)?;
    let after = right(challenger.predict_batch(rows)?)?;
    let counts = PairedCounts::from_outcomes(before.iter().copied().zip(after.iter().copied()));
    let test: NonInferiority = non_inferiority(counts, rule.margin, 1.0 - rule.alpha)?;
    let share = |right: &[bool]| right.iter().filter(|right| **right).count() as f64 / rows.len() as f64;
    let [champion_latency_ms, challenger_latency_ms] = latencies([champion, challenger], rows)?;
    Ok(Comparison {
        rows_of: rows_of.to_owned(),
        rows: counts.rows(),
        champion_accuracy: share(&before),
        challenger_accuracy: share(&after),
        difference: test.difference.estimate,
        difference_lower: test.difference.lower,
        difference_upper: test.difference.upper,
        p_not_worse: test.p_value,
        p_equal: mcnemar_exact(counts.champion_only, counts.challenger_only),
        slices: by_slice(rows, &before, &after),
        champion_latency_ms,
        challenger_latency_ms,
    })
}

fn by_slice(rows: &[Row], before: &[bool], after: &[bool]) -> BTreeMap<String, SliceDifference> {
    let mut sums: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for ((row, before), after) in rows.iter().zip(before).zip(after) {
        for (column, value) in &row.slices {
            let sum = sums.entry(format!("{column}={value}")).or_default();
            sum.0 += 1;
            sum.1 += i64::from(*after) - i64::from(*before);
        }
    }
    let difference = |(rows, sum): (u64, i64)| SliceDifference { rows, difference: sum as f64 / rows as f64 };
    sums.into_iter().map(|(name, sum)| (name, difference(sum))).collect()
}

/// Promotes what is shown to be no worse than the margin on recent rows, and is not shown to have lost more
/// than the largest allowed drop on the frozen rows or on any of their slices.
///
/// The frozen rows are of the world in which the champion was trained; a refit for a changed world may give
/// up a little there, within `max_slice_drop`, but not more. Where there are no recent rows, the frozen rows
/// have to show that the challenger is no worse.
fn judge(
    recent: Option<&Comparison>,
    test: &Comparison,
    reference: Option<&Comparison>,
    rule: &GateSpec,
) -> (bool, Vec<String>) {
    let mut conditions = Vec::new();
    let shown = recent.unwrap_or(test);
    conditions.push((
        shown.p_not_worse <= rule.alpha,
        format!(
            "on {} {} accuracy goes from {:.4} to {:.4} ({:+.4}, interval {:+.4} to {:+.4}); worse by more than {} is excluded at p = {:.2e} (asked for {})",
            shown.rows, shown.rows_of, shown.champion_accuracy, shown.challenger_accuracy, shown.difference,
            shown.difference_lower, shown.difference_upper, rule.margin, shown.p_not_worse, rule.alpha
        ),
    ));
    if recent.is_some() {
        conditions.push((
            test.difference >= -rule.max_slice_drop,
            format!(
                "on {} {} accuracy goes from {:.4} to {:.4} ({:+.4}); at most {} may be lost there",
                test.rows,
                test.rows_of,
                test.champion_accuracy,
                test.challenger_accuracy,
                test.difference,
                rule.max_slice_drop
            ),
        ));
    }
    if let Some(reference) = reference {
        // A loss that chance explains is none: few reference rows would else decide by luck.
        conditions.push((
            reference.difference >= -rule.max_slice_drop || reference.difference_upper >= 0.0,
            format!(
                "on {} {} accuracy goes from {:.4} to {:.4} ({:+.4}, interval {:+.4} to {:+.4}); at most {} may be forgotten",
                reference.rows,
                reference.rows_of,
                reference.champion_accuracy,
                reference.challenger_accuracy,
                reference.difference,
                reference.difference_lower,
                reference.difference_upper,
                rule.max_slice_drop
            ),
        ));
    }
    for (name, slice) in test.slices.iter().filter(|(_, slice)| slice.rows >= MIN_SLICE_ROWS) {
        conditions.push((
            slice.difference >= -rule.max_slice_drop,
            format!(
                "on the slice {name} ({} rows) accuracy changes by {:+.4}; at most {} may be lost",
                slice.rows, slice.difference, rule.max_slice_drop
            ),
        ));
    }
    let passed = conditions.iter().all(|(met, _)| *met);
    let sentence = |(met, text): (bool, String)| format!("{}: {text}", if met { "met" } else { "NOT met" });
    (passed, conditions.into_iter().map(sentence).collect())
}

/// Median milliseconds of an answer of each; the two take turns, so that a busy moment hits both.
fn latencies<const N: usize>(predictors: [&Predictor; N], rows: &[Row]) -> Result<[f64; N], TrainError> {
    const TIMED: usize = 64;
    let mut times: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for row in rows.iter().take(TIMED) {
        for (predictor, times) in predictors.iter().zip(&mut times) {
            let started = Instant::now();
            predictor.predict(row)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(rows_of: &str, p_not_worse: f64, difference: f64, slice: f64) -> Comparison {
        Comparison {
            rows_of: rows_of.to_owned(),
            rows: 400,
            champion_accuracy: 0.8,
            challenger_accuracy: 0.8 + difference,
            difference,
            difference_lower: difference - 0.02,
            difference_upper: difference + 0.02,
            p_not_worse,
            p_equal: 0.5,
            slices: BTreeMap::from([
                ("source=a".to_owned(), SliceDifference { rows: 100, difference: slice }),
                ("source=tiny".to_owned(), SliceDifference { rows: 3, difference: -1.0 }),
            ]),
            champion_latency_ms: 4.0,
            challenger_latency_ms: 4.0,
        }
    }

    fn check(recent: Option<Comparison>, test: Comparison, expect: bool, failing: &str) {
        check_all(recent, test, None, expect, failing);
    }

    fn check_all(
        recent: Option<Comparison>,
        test: Comparison,
        reference: Option<Comparison>,
        expect: bool,
        failing: &str,
    ) {
        let rule = GateSpec { margin: 0.005, max_slice_drop: 0.02, alpha: 0.05 };
        let (passed, reasons) = judge(recent.as_ref(), &test, reference.as_ref(), &rule);
        assert_eq!(passed, expect, "{reasons:#?}");
        if !expect {
            assert!(reasons.iter().any(|r| r.starts_with("NOT met") && r.contains(failing)), "{reasons:#?}");
        }
    }

    #[test]
    fn what_is_not_shown_to_be_no_worse_is_not_promoted() {
        let recent = |p, difference| Some(comparison("recent labelled rows", p, difference, 0.0));
        let test = |p, difference, slice| comparison("the frozen test rows", p, difference, slice);
        check(recent(0.001, 0.1), test(0.9, -0.01, 0.0), true, "");
        check(recent(0.2, 0.01), test(0.001, 0.05, 0.0), false, "recent labelled rows");
        check(recent(0.001, 0.1), test(0.9, -0.03, 0.0), false, "frozen test rows");
        check(recent(0.001, 0.1), test(0.9, 0.0, -0.05), false, "slice source=a");
        check(None, test(0.2, 0.0, 0.0), false, "frozen test rows");
        check(None, test(0.001, 0.02, 0.0), true, "");
    }

    #[test]
    fn what_is_shown_to_be_forgotten_is_not_promoted() {
        let test = || comparison("the frozen test rows", 0.001, 0.02, 0.0);
        let reference = |difference| Some(comparison("reference rows", 0.5, difference, 0.0));
        check_all(None, test(), reference(0.0), true, "");
        check_all(None, test(), reference(-0.015), true, "");
        // Its interval is 0.02 wide to either side.
        check_all(None, test(), reference(-0.05), false, "may be forgotten");
    }
}
