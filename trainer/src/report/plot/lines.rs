//! Lines over one axis, which may be logarithmic, with marks at places that the text speaks of.

use super::{Scale, horizontal_grid, open, range, tick_text};
use crate::report::html::Escaped;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 28.0;
const HEIGHT: f64 = 240.0;

/// How an axis runs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Axis {
    /// Equal steps.
    Linear,
    /// Powers of ten.
    Logarithmic,
}

/// One line.
pub(crate) struct Line {
    /// What hovering says.
    pub title: String,
    /// CSS class: `series-1` stands out, `behind` stays back.
    pub class: &'static str,
    /// (x, y); what is not finite is left out.
    pub points: Vec<(f64, f64)>,
}

/// A place on the x axis.
pub(crate) struct Mark {
    /// Where.
    pub x: f64,
    /// What is there.
    pub label: String,
}

/// The plot; `x_name` and `y_name` are plain text.
pub(crate) fn lines(x_name: &str, axis: Axis, y_name: &str, lines: &[Line], marks: &[Mark]) -> String {
    let along = |x: f64| if axis == Axis::Logarithmic { x.log10() } else { x };
    let finite = |line: &Line| -> Vec<(f64, f64)> {
        let points = line.points.iter().map(|&(x, y)| (along(x), y));
        points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let drawn: Vec<Vec<(f64, f64)>> = lines.iter().map(finite).collect();
    let all = || drawn.iter().flatten();
    let (Some(xs), Some(ys)) = (range(all().map(|point| point.0)), range(all().map(|point| point.1))) else {
        return "<p>Nothing was recorded.</p>\n".to_owned();
    };
    let x = Scale { domain: xs, pixels: (LEFT, RIGHT) };
    let y = Scale { domain: ys, pixels: (TOP + HEIGHT, TOP) };
    let mut svg = open(WIDTH, TOP + HEIGHT + 44.0, &Escaped(&format!("{y_name} over {x_name}")).to_string());
    svg += &format!("<text class=\"axis\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>\n", TOP - 10.0, Escaped(y_name));
    svg += &horizontal_grid(&y, LEFT, RIGHT, 5);
    for (line, points) in lines.iter().zip(&drawn) {
        svg += &line_svg(line, points, &x, &y);
    }
    for mark in marks.iter().filter(|mark| along(mark.x).is_finite()) {
        let at = x.at(along(mark.x));
        let anchor = if at > RIGHT - 120.0 { ("end", at - 6.0) } else { ("start", at + 6.0) };
        svg += &format!(
            "<line class=\"ideal\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP:.1}\" y2=\"{:.1}\"/>\
             <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{}</text>\n",
            TOP + HEIGHT,
            anchor.1,
            TOP + 14.0,
            anchor.0,
            Escaped(&mark.label)
        );
    }
    let wanted = if axis == Axis::Logarithmic { (xs.1 - xs.0).ceil().max(1.0) as usize } else { 8 };
    for tick in x.ticks(wanted) {
        let text =
            if axis == Axis::Logarithmic { format!("{:.1e}", 10f64.powf(tick)) } else { tick_text(tick) };
        svg += &format!(
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>\n",
            x.at(tick),
            TOP + HEIGHT + 16.0
        );
    }
    svg += &format!(
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
        (LEFT + RIGHT) / 2.0,
        TOP + HEIGHT + 36.0,
        Escaped(x_name)
    );
    svg + "</svg>\n"
}

fn line_svg(line: &Line, points: &[(f64, f64)], x: &Scale, y: &Scale) -> String {
    let place = |&(px, py): &(f64, f64)| format!("{:.1},{:.1}", x.at(px), y.at(py));
    let joined: Vec<String> = points.iter().map(place).collect();
    let title = Escaped(&line.title);
    let dots: String = points
        .iter()
        .filter(|_| points.len() <= 40)
        .map(|&(px, py)| {
            format!(
                "<circle class=\"{} dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{title}: {py:.4}</title></circle>\n",
                line.class,
                x.at(px),
                y.at(py)
            )
        })
        .collect();
    format!(
        "<polyline class=\"{} line\" points=\"{}\"><title>{title}</title></polyline>\n{dots}",
        line.class,
        joined.join(" ")
    )
}
