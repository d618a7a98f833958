//! The page of a comparison of two models.

use super::html::{Escaped, count, interval, table};
use super::sheet::{document, head};
use crate::compare::ModelComparison;

/// The page.
pub fn render_comparison(model: &str, created_at: &str, found: &ModelComparison) -> String {
    let [first, second] = &found.names;
    let title = format!("{model}: {first} and {second}");
    let accuracy = &found.accuracy;
    let facts = [("rows", format!("{} {}", accuracy.rows, accuracy.rows_of))];
    let verdict = if accuracy.p_equal > 0.05 {
        "No difference in accuracy is shown".to_owned()
    } else if accuracy.difference > 0.0 {
        format!("{second} is more accurate")
    } else {
        format!("{first} is more accurate")
    };
    let signed = |value: f64| format!("{value:+.4}");
    let mut rows = vec![vec![
        "accuracy".to_owned(),
        format!("{:.4}", accuracy.champion_accuracy),
        format!("{:.4}", accuracy.challenger_accuracy),
        format!(
            "{} [{}, {}]",
            signed(accuracy.difference),
            signed(accuracy.difference_lower),
            signed(accuracy.difference_upper)
        ),
    ]];
    rows.extend(found.figures.iter().map(|figure| {
        let difference = &figure.difference;
        vec![
            Escaped(&figure.name).to_string(),
            interval(&figure.values[0]),
            interval(&figure.values[1]),
            format!(
                "{} [{}, {}]",
                signed(difference.estimate),
                signed(difference.lower),
                signed(difference.upper)
            ),
        ]
    }));
    let slices: Vec<Vec<String>> = accuracy
        .slices
        .iter()
        .map(|(name, slice)| vec![Escaped(name).to_string(), count(slice.rows), signed(slice.difference)])
        .collect();
    let slices = match slices.is_empty() {
        true => String::new(),
        false => format!("<h2>Slices</h2>\n{}", table(&["slice", "rows", "difference in accuracy"], &slices)),
    };
    let sections = format!(
        "{}<p>{} (McNemar, exact: p = {:.4}). Worse by more than the gate's margin is excluded at p = {:.4}.</p>\n{}\
         <p class=\"quiet\">Accuracy: Tango's score interval of the paired difference; the other figures: percentile bootstrap over rows, both models on the same. \
         Median answer {:.2} ms and {:.2} ms.</p>\n{slices}<h2>Rows that differ</h2>\n{}{}",
        head(&title, created_at, &facts),
        Escaped(&verdict),
        accuracy.p_equal,
        accuracy.p_not_worse,
        table(&["figure", "first", "second", "second minus first"], &rows),
        accuracy.champion_latency_ms,
        accuracy.challenger_latency_ms,
        listed(&format!("Only {first} is right:"), &found.examples[0]),
        listed(&format!("Only {second} is right:"), &found.examples[1]),
    );
    document(&Escaped(&title).to_string(), &sections)
}

fn listed(heading: &str, examples: &[String]) -> String {
    let lines: String = examples.iter().map(|example| format!("<p>{}</p>\n", Escaped(example))).collect();
    let none = if examples.is_empty() { "<p class=\"quiet\">none</p>\n" } else { "" };
    format!("<p><b>{}</b></p>\n{lines}{none}", Escaped(heading))
}
