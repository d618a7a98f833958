//! Stated confidence against the accuracy that came true, each with its interval, above how many
//! rows stated it.

use refit_stats::Calibration;

use super::{Scale, horizontal_grid, horizontal_ticks, open};
use crate::report::html::count;

const SIDE: f64 = 320.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 16.0;
const ROWS_TOP: f64 = TOP + SIDE + 30.0;
const ROWS_HEIGHT: f64 = 60.0;

pub(crate) fn reliability(calibration: &Calibration) -> String {
    let x = Scale { domain: (0.0, 1.0), pixels: (LEFT, LEFT + SIDE) };
    let y = Scale { domain: (0.0, 1.0), pixels: (TOP + SIDE, TOP) };
    let most = calibration.bins.iter().map(|bin| bin.rows).max().unwrap_or(1).max(1) as f64;
    let mut svg = open(
        LEFT + SIDE + 24.0,
        ROWS_TOP + ROWS_HEIGHT + 44.0,
        "Reliability: accuracy over stated confidence",
    );
    svg += &horizontal_grid(&y, LEFT, LEFT + SIDE, 5);
    svg += &format!(
        "<line class=\"ideal\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n\
         <text class=\"axis\" x=\"{LEFT}\" y=\"{:.1}\" dx=\"6\">accuracy</text>\n\
         <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">calibrated</text>\n",
        x.at(0.0),
        y.at(0.0),
        x.at(1.0),
        y.at(1.0),
        TOP + 12.0,
        x.at(0.2),
        y.at(0.14),
    );
    for bin in &calibration.bins {
        let (at, accuracy) = (x.at(bin.confidence), &bin.accuracy);
        let height = ROWS_HEIGHT * bin.rows as f64 / most;
        svg += &format!(
            "<g><title>confidence {:.3}: accuracy {accuracy} of {} rows</title>\
             <line class=\"series-1 whisker\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <circle class=\"series-1 dot\" cx=\"{at:.1}\" cy=\"{:.1}\" r=\"5\"/>\
             <rect class=\"bar-quiet\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"2\"/></g>\n",
            bin.confidence,
            count(bin.rows),
            y.at(accuracy.lower),
            y.at(accuracy.upper),
            y.at(accuracy.estimate),
            x.at(bin.from) + 1.0,
            ROWS_TOP + ROWS_HEIGHT - height,
            x.at(bin.to) - x.at(bin.from) - 2.0,
        );
    }
    let bottom = ROWS_TOP + ROWS_HEIGHT;
    svg += &format!(
        "<text class=\"axis\" x=\"{LEFT}\" y=\"{:.1}\">rows (most: {})</text>\n\
         <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">stated confidence</text>\n",
        ROWS_TOP - 8.0,
        count(most as u64),
        LEFT + SIDE / 2.0,
        bottom + 36.0
    );
    svg + &horizontal_ticks(&x, bottom + 16.0, 5) + "</svg>\n"
}
