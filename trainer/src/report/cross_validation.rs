//! The page of a cross-validation.

use super::html::{Escaped, count, interval, table};
use super::sheet::{document, head};
use crate::choosing::CrossValidation;

/// The page.
pub fn render_cross_validation(model: &str, created_at: &str, found: &CrossValidation) -> String {
    let title = format!("{model}: cross-validation");
    let facts = [
        ("folds", found.folds.len().to_string()),
        ("rows", format!("{} of training and validation", found.rows)),
        ("test rows", format!("{} not looked at", found.test_rows_untouched)),
    ];
    let sections = [head(&title, created_at, &facts), means(found), folds(found), pooled(found)].concat();
    document(&Escaped(&title).to_string(), &sections)
}

fn means(found: &CrossValidation) -> String {
    let rows: Vec<Vec<String>> =
        found.means.iter().map(|(name, value)| vec![Escaped(name).to_string(), interval(value)]).collect();
    format!(
        "<h2>Mean over folds</h2>\n{}<p class=\"quiet\">How good a model is that is trained so on other rows of this kind: the corrected resampled t \
         interval, which allows for the rows that the trainings of folds share (Nadeau and Bengio 2003). \u{201c}rightness\u{201d} is the accuracy where an answer is right or wrong.</p>\n",
        table(&["figure", "mean"], &rows)
    )
}

fn folds(found: &CrossValidation) -> String {
    let names: Vec<&str> = found.means.keys().map(String::as_str).collect();
    let mut columns = vec!["fold", "trained on", "chose by", "answered", "epochs"];
    columns.extend(names.iter().map(|name| match *name {
        "loss" => "loss",
        "rightness" => "rightness",
        _ => "metric",
    }));
    let rows: Vec<Vec<String>> = found
        .folds
        .iter()
        .map(|fold| {
            let mut row = vec![
                fold.fold.to_string(),
                count(fold.train as u64),
                count(fold.validation as u64),
                count(fold.test as u64),
                format!("{}, best {}", fold.epochs, fold.best_epoch),
            ];
            row.extend(names.iter().map(|name| {
                fold.figures.get(*name).map_or_else(|| "\u{2013}".to_owned(), |value| format!("{value:.4}"))
            }));
            row
        })
        .collect();
    format!("<h2>Folds</h2>\n{}", table(&columns, &rows))
}

fn pooled(found: &CrossValidation) -> String {
    let evaluation = found.evaluation.as_ref().map_or_else(String::new, |evaluation| {
        let metrics = &evaluation.metrics;
        let row = |name: &str, value: String, constant: String| vec![name.to_owned(), value, constant];
        let none = || "\u{2013}".to_owned();
        let rows = [
            row("accuracy", interval(&metrics.accuracy), interval(&evaluation.baseline.accuracy)),
            row("F1, macro", interval(&metrics.f1_macro), interval(&evaluation.baseline.f1_macro)),
            row("precision, macro", interval(&metrics.precision_macro), none()),
            row("recall, macro", interval(&metrics.recall_macro), none()),
        ];
        table(&["over rows", "model", "majority class"], &rows)
    });
    format!(
        "<h2>All rows together</h2>\n<p>Every row answered by the model that had not seen it: rightness {}, percentile bootstrap over {} \
         (it does not vary the training).</p>\n{evaluation}",
        interval(&found.pooled),
        found.resampled
    )
}
