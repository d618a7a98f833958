//! Figures of the tasks beside single-label classification: each with its bootstrap interval over rows, its baseline,
//! by slice, and by label where there are labels.

use std::collections::BTreeMap;

use refit_stats::{Bootstrap, Interval, StatsError, percentile_interval, resample};
use serde::{Deserialize, Serialize};

use super::EvaluationError;

/// Resamples of a slice or a label: there may be many of them.
const PART_RESAMPLES: usize = 300;

/// What was found on the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskEvaluation {
    /// The task, as `model.task` names it.
    pub task: String,
    /// Rows that were judged.
    pub rows: u64,
    /// Every figure, the main one first.
    pub figures: Vec<Figure>,
    /// The answer that costs nothing, in a few words.
    pub baseline: String,
    /// F1 of each label or kind, where there are any.
    pub labels: Vec<LabelFigure>,
    /// The main figure by slice, the worst first.
    pub slices: Vec<SliceFigure>,
    /// Name of the worst slice, `column=value`.
    pub worst_slice: Option<String>,
    /// What else should be known of the rows.
    pub notes: Vec<String>,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name, as `train.early_stopping.metric` writes it.
    pub name: String,
    /// The model's.
    pub value: Interval,
    /// That of the baseline on the same rows, where it has one.
    pub baseline: Option<f64>,
}

/// One label, or one kind of entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelFigure {
    /// The label.
    pub label: String,
    /// How often it truly occurs.
    pub support: u64,
    /// Its F1.
    pub f1: Interval,
}

/// One slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceFigure {
    /// `column=value`.
    pub name: String,
    /// Rows with it.
    pub rows: u64,
    /// The main figure on them.
    pub value: Interval,
}

/// What is to be evaluated: figures are functions of which rows are looked at.
pub struct Judged<'a> {
    /// The task, as `model.task` names it.
    pub task: String,
    /// The slices of each row.
    pub slices: Vec<&'a [(String, String)]>,
    /// Names of the figures, the main one first.
    pub names: &'a [&'a str],
    /// The figures on rows, given by their indices; NaN where one is undefined.
    pub figures: &'a dyn Fn(&[usize]) -> Vec<f64>,
    /// The answer that costs nothing, and its figures.
    pub baseline: (String, Vec<Option<f64>>),
    /// Labels with how often each occurs, and the F1 of each on rows.
    pub labels: Vec<(String, u64)>,
    /// F1 of each label on rows.
    pub by_label: &'a dyn Fn(&[usize]) -> Vec<f64>,
    /// Whether a smaller main figure is a better one.
    pub less_is_better: bool,
}

impl Judged<'_> {
    /// Every figure with its interval.
    ///
    /// # Errors
    /// When there are no rows, or the main figure is not a number.
    pub fn evaluate(&self, notes: Vec<String>) -> Result<TaskEvaluation, EvaluationError> {
        let rows: Vec<usize> = (0..self.slices.len()).collect();
        if rows.is_empty() {
            return Err(EvaluationError::NoRows);
        }
        let values = intervals(&rows, &Bootstrap::default(), self.figures)?;
        let figures: Vec<Figure> = self
            .names
            .iter()
            .zip(values)
            .zip(&self.baseline.1)
            .map(|((name, value), baseline)| Figure { name: (*name).to_owned(), value, baseline: *baseline })
            .collect();
        let parts = Bootstrap { resamples: PART_RESAMPLES, ..Bootstrap::default() };
        let by_label = intervals(&rows, &parts, self.by_label)?;
        let labels = self
            .labels
            .iter()
            .zip(by_label)
            .map(|((label, support), f1)| LabelFigure { label: label.clone(), support: *support, f1 })
            .collect();
        let slices = self.by_slice(&parts)?;
        Ok(TaskEvaluation {
            task: self.task.clone(),
            rows: rows.len() as u64,
            figures,
            baseline: self.baseline.0.clone(),
            labels,
            worst_slice: slices.first().map(|slice| slice.name.clone()),
            slices,
            notes,
        })
    }

    /// The worst first: that whose interval, at its better end, is the worst, so that a handful of unlucky rows does
    /// not count as the worst.
    fn by_slice(&self, settings: &Bootstrap) -> Result<Vec<SliceFigure>, StatsError> {
        let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (row, slices) in self.slices.iter().enumerate() {
            for (column, value) in *slices {
                members.entry(format!("{column}={value}")).or_default().push(row);
            }
        }
        let mut slices = Vec::with_capacity(members.len());
        for (name, rows) in members {
            let main = |drawn: &[usize]| (self.figures)(drawn).into_iter().take(1).collect();
            let value = intervals(&rows, settings, &main)?.remove(0);
            slices.push(SliceFigure { name, rows: rows.len() as u64, value });
        }
        slices.sort_by(|a, b| match self.less_is_better {
            false => a.value.upper.total_cmp(&b.value.upper),
            true => b.value.lower.total_cmp(&a.value.lower),
        });
        Ok(slices)
    }
}

/// The statistics of `rows`, each with its percentile bootstrap interval.
fn intervals(
    rows: &[usize],
    settings: &Bootstrap,
    statistics: &dyn Fn(&[usize]) -> Vec<f64>,
) -> Result<Vec<Interval>, StatsError> {
    let estimates = statistics(rows);
    let draws = resample(rows.len(), settings, |drawn| {
        statistics(&drawn.iter().map(|&place| rows[place]).collect::<Vec<_>>())
    })?;
    let interval = |(place, estimate): (usize, f64)| {
        let values: Vec<f64> = draws.iter().map(|draw| draw[place]).collect();
        percentile_interval(estimate, &values, settings.confidence)
    };
    Ok(estimates.into_iter().enumerate().map(interval).collect())
}
