//! The section on the file that is served: every form that was measured, engine by engine.

use super::Quantization;
use super::html::{Escaped, bytes, count, interval, table};
use super::plot;
use refit_artifact::{Candidate, EngineSearch, Sensitivity};

/// Layers that the table of sensitivities shows.
const MOST_LAYERS: usize = 12;

pub(super) fn section(report: &Quantization) -> String {
    let engines: String = report.searches.iter().map(|search| engine(report, search)).collect();
    format!("<h2>Quantization</h2>\n{engines}")
}

fn engine(report: &Quantization, search: &EngineSearch) -> String {
    let serving = &search.serving;
    let rows: Vec<Vec<String>> =
        search.candidates.iter().map(|candidate| row(candidate, is_served(search, candidate))).collect();
    let head =
        ["form", "size", "one answer (median)", "speed", "accuracy", "lost against float32", "verdict", ""];
    let plot = match search.candidates.len() {
        0 | 1 => String::new(),
        _ => plot::frontier(search, report.max_drop, report.min_speedup),
    };
    format!(
        "<p>Served in {}: <b>{}</b>. {}</p>\n<p class=\"quiet\">Measured on {}, one thread, each row alone. Forms were chosen on \
         validation rows; what the chosen one does on test rows is above.</p>\n{}{plot}{}",
        Escaped(&serving.engine),
        Escaped(serving.precision.name()),
        Escaped(&serving.reason),
        Escaped(&search.machine),
        table(&head, &rows),
        sensitivity(search)
    )
}

/// Whether this is the form that the engine serves: the last of its precision that has as many layers in float32 as
/// were accepted.
pub(super) fn is_served(search: &EngineSearch, candidate: &Candidate) -> bool {
    candidate.precision == search.serving.precision && candidate.float_layers == search.serving.float_layers
}

fn row(candidate: &Candidate, served: bool) -> Vec<String> {
    let kept = match candidate.float_layers.len() {
        0 => String::new(),
        kept => format!(
            ", <span title=\"{}\">{kept} in float32</span>",
            Escaped(&candidate.float_layers.join("\n"))
        ),
    };
    let detail = match candidate.detail.as_str() {
        "" => String::new(),
        detail => format!("<br><span class=\"quiet\">{}</span>", Escaped(detail)),
    };
    let measured = |value: &Option<refit_stats::Interval>| {
        value.as_ref().map_or_else(|| "\u{2013}".to_owned(), interval)
    };
    vec![
        format!("{}{kept}{detail}", Escaped(candidate.precision.name())),
        bytes(candidate.bytes),
        format!("{:.2} ms", candidate.latency_ms),
        format!("{:.2}\u{d7}", candidate.speedup),
        measured(&candidate.accuracy),
        measured(&candidate.accuracy_drop),
        Escaped(&candidate.verdict).to_string(),
        if served { "<b>served</b>".to_owned() } else { String::new() },
    ]
}

fn sensitivity(search: &EngineSearch) -> String {
    let mut precisions: Vec<_> = search.sensitivity.iter().map(|layer| layer.precision).collect();
    precisions.dedup();
    precisions
        .into_iter()
        .map(|precision| {
            let layers: Vec<&Sensitivity> =
                search.sensitivity.iter().filter(|layer| layer.precision == precision).collect();
            let kept = |layer: &Sensitivity| {
                let served = search.serving.precision == precision;
                served && search.serving.float_layers.contains(&layer.weight)
            };
            let rows: Vec<Vec<String>> = layers
                .iter()
                .take(MOST_LAYERS)
                .map(|layer| {
                    vec![
                        Escaped(&layer.weight).to_string(),
                        count(layer.elements),
                        format!("{:.2e}", layer.error),
                        if kept(layer) { "float32".to_owned() } else { String::new() },
                    ]
                })
                .collect();
            format!(
                "<p>The layers that {} hurts most for their size, of {}: the mean squared change of an output when this layer \
                 alone is quantized.</p>\n{}",
                Escaped(precision.name()),
                layers.len(),
                table(&["weight", "elements", "change", ""], &rows)
            )
        })
        .collect()
}
