//! Two models on the same rows, by paired tests: for people, where [`crate::gate`] decides for the loop.

use crate::TrainError;
use crate::data::{self, Row};
use crate::event::{Event, Listener};
use crate::fetch::fetching;
use crate::gate::{self, Comparison};
use refit_predictor::{Answer, Engines, Prediction, Predictor};
use refit_spec::Spec;
use refit_stats::{Bootstrap, ConfusionMatrix, Interval, percentile_interval, resample};
use serde::Serialize;
use std::path::Path;

/// What is compared.
pub struct CompareRequest<'a> {
    /// Where the rows are, and what counts as no worse.
    pub spec: &'a Spec,
    /// refit's cache.
    pub cache: &'a Path,
    /// Artifacts of both models.
    pub artifacts: [&'a Path; 2],
    /// What they are called.
    pub names: [String; 2],
    /// Rows (`{"text", "label"}` a line); the frozen test rows when left out.
    pub rows: Option<&'a Path>,
    /// Engines to answer with.
    pub engines: &'a Engines,
}

/// Both models, with every difference.
#[derive(Debug, Clone, Serialize)]
pub struct ModelComparison {
    /// What the models are called.
    pub names: [String; 2],
    /// Accuracy, by exact paired tests; the first model is the champion.
    pub accuracy: Comparison,
    /// Further figures, by a paired bootstrap over rows; of single-label classifiers.
    pub figures: Vec<PairedFigure>,
    /// Rows that only the first, and only the second answers rightly: some of each.
    pub examples: [Vec<String>; 2],
}

/// One figure of both.
#[derive(Debug, Clone, Serialize)]
pub struct PairedFigure {
    /// Its name.
    pub name: String,
    /// Of the first model and of the second.
    pub values: [Interval; 2],
    /// Second minus first, both models on the same resampled rows.
    pub difference: Interval,
}

/// Rows that are shown of each kind.
const EXAMPLES: usize = 8;

/// Compares.
///
/// # Errors
/// When a model does not load, or there are no rows.
pub fn compare(request: &CompareRequest<'_>, tell: &mut Listener<'_>) -> Result<ModelComparison, TrainError> {
    let [first, second] = request.artifacts.map(|path| gate::load(path, request.engines));
    let (first, second) = (first?, second?);
    let (rows, rows_of) = match request.rows {
        Some(path) => (data::read_labelled_jsonl(path)?, "given rows"),
        None => {
            let load = |fetch: &data::Fetch<'_>| data::load_dataset(&request.spec.data, fetch);
            let data = fetching(request.spec, request.cache, tell, load)?;
            (data.test.to_vec()?, "frozen test rows")
        }
    };
    tell(Event::Stage { name: "answering", message: format!("{} rows with both models", rows.len()) });
    let rule = &request.spec.refit.gate;
    let accuracy = gate::compare(rows_of, &rows, &first, &second, rule)?;
    let mut found = ModelComparison {
        names: request.names.clone(),
        accuracy,
        figures: Vec::new(),
        examples: Default::default(),
    };
    if let (Some(of_first), Some(of_second)) = (labels(&first, &rows)?, labels(&second, &rows)?) {
        found.examples = [examples(&rows, &of_first, &of_second), examples(&rows, &of_second, &of_first)];
        found.figures = vec![f1_macro(&rows, &[of_first, of_second])?];
    }
    Ok(found)
}

/// The label of each row; none where the model gives other answers than one label.
fn labels(predictor: &Predictor, rows: &[Row]) -> Result<Option<Vec<String>>, TrainError> {
    let label = |answer: Prediction| match answer.answer {
        Answer::Class { label, .. } => Some(label.to_string()),
        _ => None,
    };
    Ok(predictor.predict_batch(rows)?.into_iter().map(label).collect())
}

/// Rows that `right` answers rightly and `wrong` does not.
fn examples(rows: &[Row], right: &[String], wrong: &[String]) -> Vec<String> {
    let differing = rows.iter().zip(right).zip(wrong).filter(|((row, a), b)| row.label == **a && a != b);
    let shown = differing.map(|((row, a), b)| {
        let text: String = row.text.chars().take(120).collect();
        format!("\u{201c}{text}\u{201d} is {a}, not {b}")
    });
    shown.take(EXAMPLES).collect()
}

/// Macro F1 of both, with the paired bootstrap interval of the difference.
fn f1_macro(rows: &[Row], answers: &[Vec<String>; 2]) -> Result<PairedFigure, TrainError> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    names.extend(answers.iter().flatten().map(String::as_str));
    names.sort_unstable();
    names.dedup();
    let index = |name: &str| names.binary_search(&name).unwrap_or_default();
    let truth: Vec<usize> = rows.iter().map(|row| index(&row.label)).collect();
    let given = answers.each_ref().map(|answers| answers.iter().map(|a| index(a)).collect::<Vec<usize>>());
    let settings = Bootstrap::default();
    let of = |given: &[usize], drawn: &mut dyn Iterator<Item = usize>| -> f64 {
        let pairs = drawn.map(|row| (truth[row], given[row]));
        ConfusionMatrix::from_pairs(names.len(), pairs)
            .map_or(f64::NAN, |matrix| matrix.point_metrics().f1_macro)
    };
    let both = |drawn: &[usize]| given.each_ref().map(|given| of(given, &mut drawn.iter().copied()));
    let all: Vec<usize> = (0..rows.len()).collect();
    let estimates = both(&all);
    let draws = resample(rows.len(), &settings, both)?;
    let interval = |estimate: f64, pick: &dyn Fn(&[f64; 2]) -> f64| {
        let values: Vec<f64> = draws.iter().map(pick).collect();
        percentile_interval(estimate, &values, settings.confidence)
    };
    Ok(PairedFigure {
        name: "f1_macro".to_owned(),
        values: [interval(estimates[0], &|draw| draw[0]), interval(estimates[1], &|draw| draw[1])],
        difference: interval(estimates[1] - estimates[0], &|draw| draw[1] - draw[0]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paired_interval_is_narrower_than_two_apart() {
        let rows: Vec<Row> = (0..300)
            .map(|row| Row::new(format!("{row}"), if row % 3 == 0 { "a" } else { "b" }, ""))
            .collect();
        let wrong = |row: usize, every: usize| {
            let label = if row.is_multiple_of(3) != row.is_multiple_of(every) { "a" } else { "b" };
            label.to_owned()
        };
        // The second model repeats nearly all mistakes of the first.
        let first: Vec<String> = (0..300).map(|row| wrong(row, 7)).collect();
        let second: Vec<String> = (0..300)
            .map(|row| if row % 50 == 0 { rows[row].label.clone() } else { first[row].clone() })
            .collect();
        let figure = f1_macro(&rows, &[first.clone(), second.clone()]).unwrap();
        let width = |interval: &Interval| interval.upper - interval.lower;
        assert!(figure.difference.contains(figure.values[1].estimate - figure.values[0].estimate));
        assert!(width(&figure.difference) < 0.5 * width(&figure.values[0]), "{figure:?}");
        let gained = examples(&rows, &second, &first);
        assert!(!gained.is_empty() && examples(&rows, &first, &second).is_empty(), "{gained:?}");
    }
}
