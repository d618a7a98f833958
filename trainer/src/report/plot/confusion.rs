//! The confusion matrix as a heat map: a cell's strength is its share of the true class.

use refit_stats::ConfusionMatrix;

use super::open;
use crate::report::html::{Escaped, count, shortened};

/// Longest name, in characters, and the width of one.
const NAME: usize = 20;
const CHARACTER: f64 = 7.0;
/// More classes than this leave no room for numbers in the cells; hovering shows them.
const NUMBERED: usize = 16;

pub(crate) fn confusion(labels: &[String], matrix: &ConfusionMatrix) -> String {
    let classes = matrix.counts.len();
    let cell = (560.0 / classes.max(1) as f64).clamp(14.0, 84.0);
    let side = cell * classes as f64;
    let longest = labels.iter().map(|label| label.chars().count().min(NAME)).max().unwrap_or(0);
    // Room for the names of the true classes, and above the matrix for those of the predicted ones.
    let margin = 40.0 + CHARACTER * longest as f64;
    let mut svg = open(
        margin + side + 0.8 * margin,
        margin + side + 12.0,
        "Confusion matrix: rows are true classes, columns predicted ones",
    );
    svg += &format!(
        "<text class=\"axis\" x=\"{:.1}\" y=\"14\">true \u{2193} \u{2003} predicted \u{2192}</text>\n",
        8.0
    );
    for (index, label) in labels.iter().enumerate().take(classes) {
        let middle = margin + cell * (index as f64 + 0.5);
        let name = shortened(label, NAME);
        svg += &format!(
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\"><title>{}</title>{}</text>\n",
            margin - 8.0,
            middle + 4.0,
            Escaped(label),
            Escaped(&name)
        );
        svg += &format!(
            "<text class=\"tick\" transform=\"translate({:.1} {:.1}) rotate(-45)\"><title>{}</title>{}</text>\n",
            middle + 3.0,
            margin - 8.0,
            Escaped(label),
            Escaped(&name)
        );
    }
    for (truth, row) in matrix.counts.iter().enumerate() {
        let support: u64 = row.iter().sum();
        for (predicted, &rows) in row.iter().enumerate() {
            let share = if support == 0 { 0.0 } else { rows as f64 / support as f64 };
            svg += &cell_svg(labels, (truth, predicted), rows, share, (margin, cell));
        }
    }
    svg + "</svg>\n"
}

fn cell_svg(
    labels: &[String],
    (truth, predicted): (usize, usize),
    rows: u64,
    share: f64,
    (margin, cell): (f64, f64),
) -> String {
    let (x, y) = (margin + cell * predicted as f64, margin + cell * truth as f64);
    let name = |index: usize| labels.get(index).map_or("", String::as_str);
    let number = if labels.len() > NUMBERED {
        String::new()
    } else {
        let ink = if share > 0.55 { "on-strong" } else { "label" };
        format!(
            "<text class=\"{ink}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x + cell / 2.0,
            y + cell / 2.0 + 4.5,
            count(rows)
        )
    };
    format!(
        "<g><title>{} taken for {}: {} ({:.1} %)</title><rect class=\"cell\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>\
         <rect class=\"heat\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill-opacity=\"{share:.3}\"/>{number}</g>\n",
        Escaped(name(truth)),
        Escaped(name(predicted)),
        count(rows),
        100.0 * share,
        x + 1.0,
        y + 1.0,
        cell - 2.0,
        cell - 2.0,
        x + 1.0,
        y + 1.0,
        cell - 2.0,
        cell - 2.0,
    )
}
