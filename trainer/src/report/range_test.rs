//! The page of a learning-rate range test.

use super::plot::{Axis, Line, Mark, lines};
use super::sheet::{document, head};
use crate::choosing::RangeTest;

/// The page.
pub fn render_range_test(model: &str, created_at: &str, test: &RangeTest) -> String {
    let title = format!("{model}: learning-rate range test");
    let rate = |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |rate| format!("{rate:.1e}"));
    let facts = [
        ("steps", test.points.len().to_string()),
        ("suggested", rate(test.suggested)),
        ("in the spec", format!("{:.1e}", test.in_spec)),
    ];
    let line = |title: &str, class, value: fn(&crate::choosing::RangePoint) -> f64| Line {
        title: title.to_owned(),
        class,
        points: test.points.iter().map(|point| (point.rate, value(point))).collect(),
    };
    let curves = [line("loss", "behind", |p| p.loss), line("smoothed loss", "series-1", |p| p.smoothed)];
    let mut marks = vec![Mark { x: test.in_spec, label: "in the spec".to_owned() }];
    marks.extend(test.suggested.map(|x| Mark { x, label: "suggested".to_owned() }));
    let said = match (test.suggested, test.least_loss_at) {
        (Some(suggested), Some(least)) => format!(
            "The smoothed loss falls fastest at <b>{suggested:.1e}</b>, which is suggested as learning_rate; it is least at {least:.1e}, and higher rates do harm."
        ),
        _ => "<span class=\"bad\">The loss does not fall at any rate: nothing is suggested. Look at the rows and labels first.</span>".to_owned(),
    };
    let ended =
        if test.diverged { " The test ended where the loss rose to four times its least." } else { "" };
    let sections = format!(
        "{}<p>{said}{ended}</p>\n{}<p class=\"quiet\">The rate rises by the same factor at every step (Smith 2017); the loss is smoothed exponentially. \
         The weights of the test are thrown away.</p>\n",
        head(&title, created_at, &facts),
        lines("learning rate", Axis::Logarithmic, "training loss", &curves, &marks)
    );
    document(&super::html::Escaped(&title).to_string(), &sections)
}
