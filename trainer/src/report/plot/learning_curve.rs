//! Training loss above, validation metric below, over the same steps: two scales, two panels.

use super::{Scale, horizontal_grid, horizontal_ticks, open, range, tick_text};
use crate::report::LearningCurve;
use crate::report::html::Escaped;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 24.0;
const PANEL: f64 = 150.0;

pub(crate) fn learning_curve(curve: &LearningCurve) -> String {
    let steps = curve.train_loss.iter().chain(&curve.validation).map(|point| point.0);
    let Some(last) = steps.max() else {
        return "<p>No step was recorded.</p>\n".to_owned();
    };
    let x = Scale { domain: (0.0, last.max(1) as f64), pixels: (LEFT, RIGHT) };
    let loss = panel(&x, 24.0, "training loss", "series-1", &curve.train_loss, None);
    let metric_title = format!("validation {}", Escaped(&curve.metric));
    let metric =
        panel(&x, 24.0 + PANEL + 44.0, &metric_title, "series-2", &curve.validation, curve.best_step);
    let bottom = 24.0 + 2.0 * PANEL + 44.0;
    format!(
        "{}{loss}{metric}{}<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">step</text>\n</svg>\n",
        open(WIDTH, bottom + 40.0, "Training loss and validation metric over the steps"),
        horizontal_ticks(&x, bottom + 16.0, 8),
        (LEFT + RIGHT) / 2.0,
        bottom + 34.0,
    )
}

fn panel(x: &Scale, top: f64, title: &str, class: &str, points: &[(u64, f64)], best: Option<u64>) -> String {
    let heading = format!("<text class=\"axis\" x=\"{LEFT}\" y=\"{:.1}\">{title}</text>\n", top - 8.0);
    let Some(domain) = range(points.iter().map(|point| point.1)) else {
        return format!(
            "{heading}<text class=\"tick\" x=\"{LEFT}\" y=\"{:.1}\">not recorded</text>\n",
            top + 20.0
        );
    };
    let y = Scale { domain, pixels: (top + PANEL, top) };
    let finite = || points.iter().filter(|point| point.1.is_finite());
    let line: Vec<String> =
        finite().map(|point| format!("{:.1},{:.1}", x.at(point.0 as f64), y.at(point.1))).collect();
    // With many steps a dot for each hides the line.
    let radius = if points.len() <= 40 { 4.0 } else { 0.0 };
    let dots: String = finite()
        .filter(|point| radius > 0.0 || best == Some(point.0))
        .map(|&(step, value)| {
            let is_best = best == Some(step);
            format!(
                "<circle class=\"{class} dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\"><title>step {step}: {value:.4}{}</title></circle>\n",
                x.at(step as f64),
                y.at(value),
                if is_best { 6.0 } else { radius },
                if is_best { " (kept)" } else { "" },
            )
        })
        .collect();
    let label =
        best.and_then(|step| finite().find(|point| point.0 == step)).map_or_else(String::new, |best| {
            let at = x.at(best.0 as f64);
            let anchor = if at > RIGHT - 80.0 { "end" } else { "start" };
            let shift = if anchor == "end" { -10.0 } else { 10.0 };
            format!(
                "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">kept: {}</text>\n",
                at + shift,
                y.at(best.1) + 18.0,
                tick_text(best.1)
            )
        });
    format!(
        "{heading}{}<polyline class=\"{class} line\" points=\"{}\"/>\n{dots}{label}",
        horizontal_grid(&y, LEFT, RIGHT, 4),
        line.join(" ")
    )
}
