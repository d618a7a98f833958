//! The page of a search.

use super::html::{Escaped, count, interval, table};
use super::plot::{Axis, Line, lines};
use super::sheet::{document, head};
use crate::choosing::{SearchOutcome, Trial};

/// The page.
pub fn render_search(model: &str, created_at: &str, found: &SearchOutcome) -> String {
    let title = format!("{model}: search");
    let stopped = found.trials.iter().filter(|trial| trial.stopped.is_some()).count();
    let failed = found.trials.iter().filter(|trial| trial.failed.is_some()).count();
    let facts = [
        ("trials", found.trials.len().to_string()),
        ("stopped early", stopped.to_string()),
        ("failed", failed.to_string()),
        ("compared by", format!("{} on {} validation rows", found.metric, found.validation_rows)),
    ];
    let best = found.best.number;
    let curves: Vec<Line> = found
        .trials
        .iter()
        .filter(|trial| trial.number != best)
        .chain(found.trials.iter().filter(|trial| trial.number == best))
        .map(|trial| Line {
            title: format!("trial {}: {}", trial.number, settings(trial)),
            class: if trial.number == best { "series-2" } else { "behind" },
            points: trial.epochs.iter().map(|epoch| (epoch.epoch as f64, epoch.metric)).collect(),
        })
        .collect();
    let sections = [
        head(&title, created_at, &facts),
        outcome(found),
        format!(
            "<h2>Trials</h2>\n{}",
            lines("epoch", Axis::Linear, &format!("validation {}", found.metric), &curves, &[])
        ),
        trials(found),
        format!("<h2>The best as refit.toml</h2>\n<pre>{}</pre>\n", Escaped(&found.best_spec)),
    ]
    .concat();
    document(&Escaped(&title).to_string(), &sections)
}

fn outcome(found: &SearchOutcome) -> String {
    let trial = found.trials.iter().find(|trial| trial.number == found.best.number);
    let value = trial.and_then(|trial| trial.value).unwrap_or(f64::NAN);
    let first = found.trials.first().and_then(|trial| trial.value);
    let first = first.map_or_else(String::new, |first| format!(" The spec as it is reached {first:.4}."));
    let figures: Vec<Vec<String>> = found
        .best
        .figures
        .iter()
        .map(|(name, value)| vec![Escaped(name).to_string(), format!("{value:.4}")])
        .collect();
    let intervals = found.best.evaluation.as_ref().map_or_else(String::new, |evaluation| {
        format!(
            "<p>Accuracy {} (always \u{201c}{}\u{201d}: {}), macro F1 {}.</p>\n",
            interval(&evaluation.metrics.accuracy),
            Escaped(&evaluation.baseline.label),
            interval(&evaluation.baseline.accuracy),
            interval(&evaluation.metrics.f1_macro)
        )
    });
    format!(
        "<p>Trial <b>{}</b> is the best: {} {value:.4} on validation rows.{first} As the best of {} it looks better there than it is.</p>\n\
         <h2>The best on test rows</h2>\n<p>Trials were compared on validation rows only. The {} test rows were answered once, at the end, by the best trial alone.</p>\n{intervals}{}",
        found.best.number,
        Escaped(&found.metric),
        found.trials.len(),
        count(found.test_rows as u64),
        table(&["test figure", "value"], &figures)
    )
}

fn trials(found: &SearchOutcome) -> String {
    let mut order: Vec<&Trial> = found.trials.iter().collect();
    let loss = |trial: &Trial| {
        let value = trial.value.filter(|value| !value.is_nan());
        value.map_or(f64::INFINITY, |value| if found.higher_is_better { -value } else { value })
    };
    order.sort_by(|a, b| loss(a).total_cmp(&loss(b)).then(a.number.cmp(&b.number)));
    let rows: Vec<Vec<String>> = order
        .into_iter()
        .map(|trial| {
            let end = trial.failed.as_ref().map(|why| format!("failed: {why}"));
            let end = end.or_else(|| trial.stopped.as_ref().map(|why| format!("stopped {why}")));
            vec![
                trial.number.to_string(),
                trial.value.map_or_else(|| "\u{2013}".to_owned(), |value| format!("{value:.4}")),
                format!("{} of {}", trial.epochs.len(), trial.planned_epochs),
                format!("{:.0} s", trial.seconds),
                Escaped(&settings(trial)).to_string(),
                Escaped(&end.unwrap_or_default()).to_string(),
            ]
        })
        .collect();
    let head = ["trial", "best", "epochs", "time", "settings", ""];
    table(&head, &rows)
}

fn settings(trial: &Trial) -> String {
    if trial.settings.is_empty() {
        return "the spec as it is".to_owned();
    }
    trial.settings.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}
