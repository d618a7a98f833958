//! The figures of tasks beside single-label classification.

use super::html::{Escaped, count, interval, table};
use super::page::tile;
use crate::evaluation::TaskEvaluation;

/// Every figure beside the baseline's.
pub fn results(evaluation: &TaskEvaluation) -> String {
    let ends = |value: &refit_stats::Interval| format!("{:.3} to {:.3}", value.lower, value.upper);
    let tiles: String = evaluation
        .figures
        .iter()
        .take(4)
        .map(|figure| tile(&Escaped(&figure.name).to_string(), figure.value.estimate, &ends(&figure.value)))
        .collect();
    let baseline =
        |value: Option<f64>| value.map_or_else(|| "\u{2013}".to_owned(), |value| format!("{value:.4}"));
    let rows: Vec<Vec<String>> = evaluation
        .figures
        .iter()
        .map(|f| vec![Escaped(&f.name).to_string(), interval(&f.value), baseline(f.baseline)])
        .collect();
    let notes: String = evaluation.notes.iter().map(|note| format!("<p>{}.</p>\n", Escaped(note))).collect();
    let confidence = evaluation.figures.first().map_or(0.95, |figure| figure.value.confidence);
    format!(
        "<div class=\"tiles\">\n{tiles}</div>\n<p>{} test rows; intervals at {:.0} %. Baseline: {}.</p>\n{notes}{}",
        count(evaluation.rows),
        100.0 * confidence,
        Escaped(&evaluation.baseline),
        table(&[&Escaped(&evaluation.task).to_string(), "model", "baseline"], &rows)
    )
}

/// F1 of each label or kind, where there are any.
pub fn labels(evaluation: &TaskEvaluation) -> String {
    if evaluation.labels.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = evaluation
        .labels
        .iter()
        .map(|label| vec![Escaped(&label.label).to_string(), count(label.support), interval(&label.f1)])
        .collect();
    format!("<h2>Labels</h2>\n{}", table(&["label", "occurs", "F1"], &rows))
}

/// The main figure by slice.
pub fn slices(evaluation: &TaskEvaluation) -> String {
    let Some(worst) = evaluation.slices.first() else {
        return "<h2>Slices</h2>\n<p class=\"quiet\">No slices are configured (data.slices).</p>\n"
            .to_owned();
    };
    let name = evaluation.figures.first().map_or("", |figure| figure.name.as_str());
    let rows: Vec<Vec<String>> = evaluation
        .slices
        .iter()
        .map(|slice| vec![Escaped(&slice.name).to_string(), count(slice.rows), interval(&slice.value)])
        .collect();
    format!(
        "<h2>Slices</h2>\n<p>Worst: <b>{}</b>, {} {} on {} rows.</p>\n{}",
        Escaped(&worst.name),
        Escaped(name),
        interval(&worst.value),
        count(worst.rows),
        table(&["slice", "rows", name], &rows)
    )
}
