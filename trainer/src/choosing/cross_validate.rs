//! Cross-validation: how good models are that this spec makes of such data, and how sure that is.

use super::folds::assign;
use super::kept::Kept;
use super::recipe::{Place, Recipe, Trained, load_data};
use super::softmax;
use crate::TrainError;
use crate::checkpoint::Running;
use crate::data::{LoadedData, Row};
use crate::evaluation::{Evaluation, Scored, evaluate};
use crate::event::{Event, Listener};
use refit_predictor::Engines;
use refit_spec::{Metric, Spec};
use refit_stats::{Bootstrap, Interval, corrected_mean, percentile_interval, resample};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Share of the rows of the other folds that chooses the best epoch, where the spec's split has none.
const VALIDATION: f64 = 0.1;

/// What to cross-validate.
pub struct CrossValidationRequest<'a> {
    /// What the model is.
    pub spec: &'a Spec,
    /// Number of folds, at least 2.
    pub folds: usize,
    /// refit's cache.
    pub cache: &'a Path,
    /// Finished folds are kept in a folder below this one.
    pub home: &'a Path,
    /// Engines of this machine.
    pub engines: &'a Engines,
    /// How it ends early.
    pub running: Running,
}

/// One fold: a model that was trained on the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    /// From one.
    pub fold: usize,
    /// Rows that the weights learned from.
    pub train: usize,
    /// Rows that chose the best epoch.
    pub validation: usize,
    /// Rows that were answered.
    pub test: usize,
    /// Epochs done, and the one whose weights were kept.
    pub epochs: usize,
    /// The epoch whose weights were kept, from one.
    pub best_epoch: usize,
    /// Figures on the answered rows: the metric of early stopping, `loss`, and `rightness`, which is the accuracy
    /// where an answer is right or wrong.
    pub figures: BTreeMap<String, f64>,
    /// Duration.
    pub seconds: f64,
    answers: Vec<Answer>,
}

/// The answer to one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    rightness: f64,
    group: Option<String>,
    /// Index of the label and probabilities, where the task has them.
    scored: Option<(usize, Vec<f32>)>,
    slices: Vec<(String, String)>,
}

/// All folds together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossValidation {
    /// Every fold.
    pub folds: Vec<Fold>,
    /// The mean of each figure over the folds, with the corrected resampled t interval: how good a model is that is
    /// trained on other rows of this kind.
    pub means: BTreeMap<String, Interval>,
    /// Mean rightness over all rows, each answered by the model that had not seen it, with a percentile bootstrap
    /// over `resampled`.
    pub pooled: Interval,
    /// `rows`, or `groups` where rows are grouped.
    pub resampled: &'static str,
    /// Every figure on all rows together, where the task has labels with probabilities.
    pub evaluation: Option<Evaluation>,
    /// Rows that were divided into folds: those of training and validation.
    pub rows: usize,
    /// Test rows that were left alone.
    pub test_rows_untouched: usize,
    /// Folds that an earlier process had finished.
    pub resumed: usize,
    /// The folder of the finished folds.
    pub folder: PathBuf,
}

/// Cross-validates a spec on its training and validation rows; the test rows are not looked at. A fold that an
/// earlier process finished, with the same spec and rows, is not done again.
///
/// # Errors
/// When there are too few rows, or a training fails.
pub fn cross_validate(
    request: &CrossValidationRequest<'_>,
    tell: &mut Listener<'_>,
) -> Result<CrossValidation, TrainError> {
    let spec = request.spec;
    tell(Event::Stage { name: "data", message: format!("reading {}", spec.data.train) });
    let data = load_data(spec, request.cache, tell)?;
    let mut rows = data.train.to_vec()?;
    rows.extend(data.validation.to_vec()?);
    check(&rows, request.folds)?;
    let split = &spec.data.split;
    let fold_of = assign(&rows, request.folds, split.stratify, split.seed);
    if let Some(empty) = (0..request.folds).find(|fold| !fold_of.contains(fold)) {
        let why = format!("fold {} has no row: there are fewer groups than folds", empty + 1);
        return Err(TrainError::Folds { why });
    }
    let identity = [spec.to_toml(), data.fingerprint.clone(), request.folds.to_string()];
    let kept = Kept::open(
        &request.home.join("cross-validation"),
        &identity.iter().map(String::as_str).collect::<Vec<_>>(),
    )?;
    let place = Place { cache: request.cache, engines: request.engines, running: &request.running };
    let mut recipe = None;
    let (mut folds, mut resumed) = (Vec::new(), 0);
    for fold in 0..request.folds {
        let name = format!("fold-{}.json", fold + 1);
        if let Some(done) = kept.read::<Fold>(&name) {
            tell(Event::Notice(format!("fold {} was finished before", fold + 1)));
            resumed += 1;
            folds.push(done);
            continue;
        }
        request.running.stop.check(&format!("after {} of {} folds", folds.len(), request.folds))?;
        let message = format!("fold {} of {}", fold + 1, request.folds);
        tell(Event::Stage { name: "fold", message });
        let recipe = match &mut recipe {
            Some(recipe) => recipe,
            none => none.insert(Recipe::load(spec, place, tell)?),
        };
        let done = run_fold(recipe, spec, &data, &rows, &fold_of, fold, tell)?;
        folds.push(kept.write(&name, &done)?);
    }
    let mut found = summarize(spec, &data, folds, rows.len())?;
    found.resumed = resumed;
    found.folder = kept.folder().to_owned();
    Ok(found)
}

fn check(rows: &[Row], folds: usize) -> Result<(), TrainError> {
    let why = if folds < 2 {
        format!("{folds} fold is no cross-validation: ask for 2 at least")
    } else if rows.len() < 4 * folds {
        format!("{} rows are too few for {folds} folds: give more rows or ask for fewer folds", rows.len())
    } else {
        return Ok(());
    };
    Err(TrainError::Folds { why })
}

fn run_fold(
    recipe: &Recipe<'_>,
    spec: &Spec,
    data: &LoadedData,
    rows: &[Row],
    fold_of: &[usize],
    fold: usize,
    tell: &mut Listener<'_>,
) -> Result<Fold, TrainError> {
    let started = Instant::now();
    let side = |inside: bool| -> Vec<Row> {
        let chosen = rows.iter().zip(fold_of).filter(|(_, of)| (**of == fold) == inside);
        chosen.map(|(row, _)| row.clone()).collect()
    };
    let (test, rest) = (side(true), side(false));
    let (train, validation) = with_validation(rest, spec, fold)?;
    let trained = recipe.ready(spec, data, &train, &validation)?.train(None, tell)?;
    let metric = spec.train.early_stopping.metric;
    let (figures, answers) = answers(&trained, metric, data, &test)?;
    let epochs = &trained.curve.epochs;
    Ok(Fold {
        fold: fold + 1,
        train: train.len(),
        validation: validation.len(),
        test: test.len(),
        epochs: epochs.len(),
        best_epoch: epochs.iter().rev().find(|epoch| epoch.best).map_or(0, |epoch| epoch.epoch),
        figures,
        seconds: started.elapsed().as_secs_f64(),
        answers,
    })
}

/// Takes the rows that choose the best epoch from those of the other folds, groups whole.
fn with_validation(rest: Vec<Row>, spec: &Spec, fold: usize) -> Result<(Vec<Row>, Vec<Row>), TrainError> {
    let split = &spec.data.split;
    let share = if split.validation > 0.0 { split.validation } else { VALIDATION };
    let parts = (1.0 / share).round().max(2.0) as usize;
    let part_of = assign(&rest, parts, split.stratify, split.seed.wrapping_add(1 + fold as u64));
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (row, part) in rest.into_iter().zip(part_of) {
        if part == 0 { validation.push(row) } else { train.push(row) }
    }
    if train.is_empty() || validation.is_empty() {
        let why = "a fold leaves no rows to train on or to choose the epoch by: give more rows or groups";
        return Err(TrainError::Folds { why: why.to_owned() });
    }
    Ok((train, validation))
}

fn answers(
    trained: &Trained,
    metric: Metric,
    data: &LoadedData,
    test: &[Row],
) -> Result<(BTreeMap<String, f64>, Vec<Answer>), TrainError> {
    let (examples, scores) = trained.answer(test)?;
    let task = trained.task();
    let rightness = task.rightness(&examples, &scores.outputs)?;
    let figures = BTreeMap::from([
        (metric.to_string(), task.metric(metric, &examples, &scores)?),
        ("loss".to_owned(), scores.loss),
        ("rightness".to_owned(), rightness.iter().sum::<f64>() / rightness.len().max(1) as f64),
    ]);
    // Where a long row makes several examples, they are rows of their own here.
    let row_of = |index: usize| test.get(index).filter(|_| examples.len() == test.len());
    let answers = rightness
        .into_iter()
        .zip(&scores.outputs)
        .enumerate()
        .map(|(index, (rightness, output))| {
            let row = row_of(index);
            let truth = row.and_then(|row| data.labels.index(&row.label)).filter(|_| task.is_calibrated());
            Answer {
                rightness,
                group: row.and_then(|row| row.group.clone()),
                scored: truth.map(|truth| (truth, softmax(output))),
                slices: row.map(|row| row.slices.clone()).unwrap_or_default(),
            }
        })
        .collect();
    Ok((figures, answers))
}

fn summarize(
    spec: &Spec,
    data: &LoadedData,
    folds: Vec<Fold>,
    rows: usize,
) -> Result<CrossValidation, TrainError> {
    let settings = Bootstrap::default();
    let test_to_train = folds.iter().map(|f| f.test as f64 / (f.train + f.validation) as f64).sum::<f64>()
        / folds.len() as f64;
    let mut means = BTreeMap::new();
    for name in folds.first().into_iter().flat_map(|fold| fold.figures.keys()) {
        let scores: Vec<f64> = folds.iter().filter_map(|fold| fold.figures.get(name).copied()).collect();
        means.insert(name.clone(), corrected_mean(&scores, test_to_train, settings.confidence)?);
    }
    let answers: Vec<&Answer> = folds.iter().flat_map(|fold| &fold.answers).collect();
    let grouped = spec.data.split.group.is_some() && answers.iter().any(|answer| answer.group.is_some());
    let evaluation = pooled_evaluation(data, &answers)?;
    Ok(CrossValidation {
        means,
        pooled: pooled(&answers, grouped, &settings)?,
        resampled: if grouped { "groups" } else { "rows" },
        evaluation,
        rows,
        test_rows_untouched: data.test.len(),
        resumed: 0,
        folder: PathBuf::new(),
        folds,
    })
}

/// Mean rightness with a bootstrap over rows, or over groups: rows of one group are no independent witnesses.
fn pooled(answers: &[&Answer], grouped: bool, settings: &Bootstrap) -> Result<Interval, TrainError> {
    let mut clusters: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (index, answer) in answers.iter().enumerate() {
        let name = match &answer.group {
            Some(group) if grouped => format!("group {group}"),
            _ => format!("row {index:09}"),
        };
        let cluster = clusters.entry(name).or_default();
        cluster.0 += answer.rightness;
        cluster.1 += 1.0;
    }
    let clusters: Vec<(f64, f64)> = clusters.into_values().collect();
    let mean = |numbers: &mut dyn Iterator<Item = usize>| {
        let (sum, rows) = numbers
            .fold((0.0, 0.0), |(sum, rows), number| (sum + clusters[number].0, rows + clusters[number].1));
        sum / rows
    };
    let estimate = mean(&mut (0..clusters.len()));
    let draws = resample(clusters.len(), settings, |drawn| mean(&mut drawn.iter().copied()))?;
    Ok(percentile_interval(estimate, &draws, settings.confidence))
}

fn pooled_evaluation(data: &LoadedData, answers: &[&Answer]) -> Result<Option<Evaluation>, TrainError> {
    let scored: Option<Vec<Scored>> = answers
        .iter()
        .map(|answer| {
            let (truth, probabilities) = answer.scored.clone()?;
            Some(Scored { truth, probabilities, slices: answer.slices.clone() })
        })
        .collect();
    Ok(scored.map(|scored| evaluate(data.labels.names(), &scored)).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rightness: f64, group: &str) -> Answer {
        Answer { rightness, group: Some(group.to_owned()), scored: None, slices: Vec::new() }
    }

    #[test]
    fn groups_count_once_however_many_rows_they_have() {
        let answers: Vec<Answer> =
            (0..200).map(|row| answer(f64::from(row % 20 < 13), &(row % 20).to_string())).collect();
        let answers: Vec<&Answer> = answers.iter().collect();
        let settings = Bootstrap::default();
        let by_row = pooled(&answers, false, &settings).unwrap();
        let by_group = pooled(&answers, true, &settings).unwrap();
        assert_eq!((by_row.estimate, by_group.estimate), (0.65, 0.65));
        let width = |interval: &Interval| interval.upper - interval.lower;
        // Ten equal rows a group say as much as one: the interval is wider by the root of ten.
        let ratio = width(&by_group) / width(&by_row);
        assert!((2.6..3.8).contains(&ratio), "{ratio}");
    }
}
