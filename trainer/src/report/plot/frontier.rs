//! What each form loses over how much faster it is; what may be served lies to the right of one line and below
//! the other.

use super::{Scale, horizontal_grid, horizontal_ticks, open, range};
use crate::report::html::Escaped;
use crate::report::quantization::is_served;
use refit_artifact::{Candidate, EngineSearch};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 28.0;
const HEIGHT: f64 = 240.0;

pub(crate) fn frontier(search: &EngineSearch, max_drop: f64, min_speedup: f64) -> String {
    let points: Vec<(&Candidate, f64, [f64; 3])> = search
        .candidates
        .iter()
        .filter_map(|candidate| Some((candidate, candidate.speedup, drop(candidate)?)))
        .collect();
    let xs = range(points.iter().map(|point| point.1).chain([1.0, min_speedup]));
    let ys = range(points.iter().flat_map(|point| point.2).chain([0.0, max_drop]));
    let (Some(xs), Some(ys)) = (xs, ys) else { return String::new() };
    let x = Scale { domain: xs, pixels: (LEFT, RIGHT) };
    let y = Scale { domain: ys, pixels: (TOP + HEIGHT, TOP) };
    let mut svg = open(WIDTH, TOP + HEIGHT + 44.0, "Accuracy lost over speed, both against float32");
    svg += &format!(
        "<text class=\"axis\" x=\"{LEFT}\" y=\"{:.1}\">accuracy lost against float32</text>\n",
        TOP - 10.0
    );
    svg += &horizontal_grid(&y, LEFT, RIGHT, 5);
    svg += &limits(&x, &y, max_drop, min_speedup);
    for (candidate, speedup, ends) in &points {
        svg += &mark(candidate, is_served(search, candidate), x.at(*speedup), ends.map(|end| y.at(end)));
    }
    svg += &format!(
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">times as fast as float32</text>\n",
        (LEFT + RIGHT) / 2.0,
        TOP + HEIGHT + 36.0
    );
    svg + &horizontal_ticks(&x, TOP + HEIGHT + 16.0, 8) + "</svg>\n"
}

/// Lower end, estimate and upper end; float32 loses nothing against itself. `None` for what was not asked.
fn drop(candidate: &Candidate) -> Option<[f64; 3]> {
    match (&candidate.accuracy_drop, candidate.precision) {
        (Some(drop), _) => Some([drop.lower, drop.estimate, drop.upper]),
        (None, refit_artifact::Precision::Float32) => Some([0.0; 3]),
        (None, _) => None,
    }
}

fn limits(x: &Scale, y: &Scale, max_drop: f64, min_speedup: f64) -> String {
    format!(
        "<line class=\"ideal\" x1=\"{LEFT:.1}\" x2=\"{RIGHT:.1}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>\
         <text class=\"tick\" x=\"{RIGHT:.1}\" y=\"{1:.1}\" text-anchor=\"end\">may lose at most this</text>\n\
         <line class=\"ideal\" x1=\"{2:.1}\" x2=\"{2:.1}\" y1=\"{TOP:.1}\" y2=\"{3:.1}\"/>\
         <text class=\"tick\" x=\"{4:.1}\" y=\"{5:.1}\">has to be so fast</text>\n",
        y.at(max_drop),
        y.at(max_drop) - 5.0,
        x.at(min_speedup),
        TOP + HEIGHT,
        x.at(min_speedup) + 5.0,
        TOP + 12.0
    )
}

fn mark(candidate: &Candidate, served: bool, at: f64, [lower, estimate, upper]: [f64; 3]) -> String {
    let class = if served { "series-2" } else { "series-1" };
    let title = match candidate.float_layers.len() {
        0 => candidate.precision.to_string(),
        kept => format!("{}, {kept} in float32", candidate.precision),
    };
    format!(
        "<g><title>{}: {}</title><line class=\"{class} whisker\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{lower:.1}\" y2=\"{upper:.1}\"/>\
         <circle class=\"{class} dot\" cx=\"{at:.1}\" cy=\"{estimate:.1}\" r=\"5\"/></g>\n",
        Escaped(&title),
        Escaped(&candidate.verdict)
    )
}
