//! The page: its sections in the order in which they are read.

use super::html::{Escaped, count, interval, optional_interval, table};
use super::sheet::document;
use super::{Report, figures, plot, quantization};
use crate::evaluation::{Assessment, Evaluation, TemperatureScaling};
use crate::forgetting::Forgetting;

/// The report as one HTML file.
pub fn render(report: &Report) -> String {
    let title = format!("{} {}", Escaped(&report.model), Escaped(&report.version));
    let figures = match &report.evaluation {
        Assessment::Classes(evaluation) => [
            results(evaluation),
            learning(report),
            per_class(evaluation),
            confidence(evaluation),
            slices(evaluation),
        ]
        .concat(),
        Assessment::Figures(evaluation) => [
            figures::results(evaluation),
            learning(report),
            figures::labels(evaluation),
            figures::slices(evaluation),
        ]
        .concat(),
    };
    let sections = [
        head(report, &title),
        figures,
        report.forgetting.as_ref().map_or_else(String::new, forgotten),
        data(report),
        parity(report),
        quantization::section(&report.quantization),
        format!("<h2>Effective configuration</h2>\n<pre>{}</pre>\n", Escaped(&report.config)),
    ]
    .concat();
    document(&title, &sections)
}

fn head(report: &Report, title: &str) -> String {
    let facts: Vec<String> = report
        .facts
        .iter()
        .map(|(name, value)| format!("{} <b>{}</b>", Escaped(name), Escaped(value)))
        .collect();
    format!(
        "<h1>{title}</h1>\n<p class=\"quiet\">trained {}</p>\n<p>{}</p>\n",
        Escaped(&report.created_at),
        facts.join(" \u{b7} ")
    )
}

pub(super) fn tile(name: &str, value: f64, note: &str) -> String {
    format!("<div class=\"tile\"><span>{name}</span><b>{value:.3}</b><span>{note}</span></div>\n")
}

fn results(evaluation: &Evaluation) -> String {
    let metrics = &evaluation.metrics;
    let ends = |value: &refit_stats::Interval| format!("{:.3} to {:.3}", value.lower, value.upper);
    let baseline = &evaluation.baseline;
    let tiles = [
        tile("accuracy", metrics.accuracy.estimate, &ends(&metrics.accuracy)),
        tile("F1, macro", metrics.f1_macro.estimate, &ends(&metrics.f1_macro)),
        tile(
            "calibration error",
            evaluation.calibration.error.estimate,
            &ends(&evaluation.calibration.error),
        ),
        tile(
            "baseline accuracy",
            baseline.accuracy.estimate,
            &format!("always \u{201c}{}\u{201d}", Escaped(&baseline.label)),
        ),
    ]
    .concat();
    let row = |name: &str, model: String, constant: String| vec![name.to_owned(), model, constant];
    let rows = [
        row("accuracy", interval(&metrics.accuracy), interval(&baseline.accuracy)),
        row("F1, macro", interval(&metrics.f1_macro), interval(&baseline.f1_macro)),
        row("precision, macro", interval(&metrics.precision_macro), "\u{2013}".to_owned()),
        row("recall, macro", interval(&metrics.recall_macro), "\u{2013}".to_owned()),
        row(
            "log loss",
            evaluation.log_loss_interval.as_ref().map_or(format!("{:.4}", evaluation.log_loss), interval),
            "\u{2013}".to_owned(),
        ),
    ];
    let beaten = if metrics.accuracy.lower > baseline.accuracy.upper {
        "<span class=\"good\">The model beats the baseline beyond chance.</span>"
    } else {
        "<span class=\"bad\">The model is not shown to beat the baseline.</span>"
    };
    format!(
        "<div class=\"tiles\">\n{tiles}</div>\n<p>{beaten} {} test rows; intervals at {:.0} %.</p>\n{}",
        count(metrics.rows),
        100.0 * metrics.accuracy.confidence,
        table(&["", "model", "majority class"], &rows)
    )
}

fn learning(report: &Report) -> String {
    format!("<h2>Learning curve</h2>\n{}", plot::learning_curve(&report.learning_curve))
}

fn per_class(evaluation: &Evaluation) -> String {
    let rows: Vec<Vec<String>> = evaluation
        .labels
        .iter()
        .zip(&evaluation.metrics.classes)
        .map(|(label, class)| {
            vec![
                Escaped(label).to_string(),
                count(class.support),
                optional_interval(&class.precision),
                optional_interval(&class.recall),
                optional_interval(&class.f1),
            ]
        })
        .collect();
    format!(
        "<h2>Classes</h2>\n{}{}",
        table(&["class", "rows", "precision", "recall", "F1"], &rows),
        plot::confusion(&evaluation.labels, &evaluation.confusion)
    )
}

fn confidence(evaluation: &Evaluation) -> String {
    let calibration = &evaluation.calibration;
    let verdict = if calibration.perfect_p_value > 0.05 {
        "No deviation from perfect calibration is shown"
    } else {
        "Stated confidences do not quite come true"
    };
    let scaled = evaluation.temperature.as_ref().map_or_else(String::new, temperature);
    format!(
        "<h2>Reliability</h2>\n<p>Expected calibration error {}, as measured {:.3} (chance alone makes it positive). \
         {verdict} (p = {:.3}).</p>\n{scaled}{}",
        interval(&calibration.error),
        calibration.plug_in_error,
        calibration.perfect_p_value,
        plot::reliability(calibration)
    )
}

fn temperature(scaling: &TemperatureScaling) -> String {
    let fitted = &scaling.fitted;
    format!(
        "<p>Probabilities are stated at a temperature of <b>{:.3}</b>, fitted on {} validation rows (log loss there {:.4} \
         before, {:.4} after). Without it the expected calibration error of the test rows would be {}, and their log loss {:.4}. \
         Labels are the same at any temperature.</p>\n",
        fitted.temperature,
        count(fitted.rows),
        fitted.log_loss_before,
        fitted.log_loss_after,
        interval(&scaling.before.error),
        scaling.log_loss_before,
    )
}

fn slices(evaluation: &Evaluation) -> String {
    let Some(worst) = evaluation.slices.first() else {
        return "<h2>Slices</h2>\n<p class=\"quiet\">No slices are configured (data.slices).</p>\n"
            .to_owned();
    };
    let rows: Vec<Vec<String>> = evaluation
        .slices
        .iter()
        .map(|slice| {
            vec![
                Escaped(&slice.name()).to_string(),
                count(slice.rows),
                interval(&slice.accuracy),
                interval(&slice.f1_macro),
            ]
        })
        .collect();
    format!(
        "<h2>Slices</h2>\n<p>Worst: <b>{}</b>, accuracy {} on {} rows.</p>\n{}",
        Escaped(&worst.name()),
        interval(&worst.accuracy),
        count(worst.rows),
        table(&["slice", "rows", "accuracy", "F1, macro"], &rows)
    )
}

fn forgotten(forgetting: &Forgetting) -> String {
    let p = forgetting.p_equal.map_or_else(String::new, |p| format!(" (McNemar, exact: p = {p:.3})"));
    format!(
        "<h2>What it forgot</h2>\n{}<p>{}{p}.</p>\n",
        table(
            &["reference rows", "began with", "new model", "difference"],
            &[vec![
                count(forgetting.rows),
                interval(&forgetting.before),
                interval(&forgetting.after),
                interval(&forgetting.difference),
            ]]
        ),
        Escaped(&forgetting.sentence())
    )
}

fn data(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .audit
        .iter()
        .map(|finding| {
            vec![
                Escaped(&finding.name).to_string(),
                count(finding.rows),
                Escaped(&finding.action).to_string(),
            ]
        })
        .collect();
    let audit = if rows.is_empty() {
        "<p>Nothing was found.</p>\n".to_owned()
    } else {
        table(&["looked for", "rows", "done"], &rows)
    };
    let balance = match report.class_balance.as_slice() {
        [] => String::new(),
        balance => format!("<h2>Data</h2>\n{}", plot::balance(balance)),
    };
    format!("{balance}<h2>Data audit</h2>\n{audit}")
}

fn parity(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .parity
        .iter()
        .map(|check| {
            let verdict = match (check.tolerance, check.passed()) {
                (None, _) => "reported".to_owned(),
                (Some(_), true) => "<span class=\"good\">\u{2713} passed</span>".to_owned(),
                (Some(_), false) => "<span class=\"bad\">\u{2717} failed</span>".to_owned(),
            };
            vec![
                Escaped(&check.name).to_string(),
                count(check.rows),
                format!("{:.2e}", check.max_abs),
                check.tolerance.map_or_else(|| "\u{2013}".to_owned(), |tolerance| format!("{tolerance:.0e}")),
                verdict,
            ]
        })
        .collect();
    format!(
        "<h2>Parity</h2>\n<p class=\"quiet\">Greatest difference of a logit between two forms of the model on held-out rows.</p>\n{}",
        table(&["comparison", "rows", "difference", "allowed", ""], &rows)
    )
}
