//! The e-process's wealth against its budget, as inline SVG.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

/// ln(wealth) over labels, with the threshold as a line.
pub(super) fn wealth(points: &[(u64, f64)], threshold: f64) -> String {
    let labels = points.last().map_or(1, |point| point.0.max(1)) as f64;
    let values = points.iter().map(|point| point.1).filter(|value| value.is_finite());
    let highest = values.clone().fold(threshold, f64::max) * 1.08 + 0.2;
    let lowest = values.fold(0.0, f64::min) * 1.08 - 0.2;
    let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * at / labels;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (highest - value) / (highest - lowest);
    let mut line = String::new();
    for (at, value) in points.iter().filter(|point| point.1.is_finite()) {
        // Writing to a string cannot fail.
        let _ = write!(line, "{:.1},{:.1} ", x(*at as f64), y(*value));
    }
    let (zero, budget) = (y(0.0), y(threshold));
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - 8.0);
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Evidence of degradation against its budget">
<line class="axis" x1="{LEFT}" y1="{zero:.1}" x2="{right}" y2="{zero:.1}"/>
<line class="budget" x1="{LEFT}" y1="{budget:.1}" x2="{right}" y2="{budget:.1}"/>
<text x="{LEFT}" y="{:.1}" class="budget-text">budget {threshold:.2}</text>
<text x="{:.1}" y="{:.1}" text-anchor="end">0</text>
<text x="{right}" y="{bottom}" text-anchor="end">{labels:.0} labels</text>
<text x="{LEFT}" y="{bottom}">ln(wealth)</text>
<polyline class="wealth" points="{}"/>
</svg>"#,
        budget - 4.0,
        LEFT - 6.0,
        zero + 4.0,
        line.trim_end(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coordinate_is_a_number_inside_the_picture() {
        for points in
            [vec![], vec![(0, 0.0)], vec![(0, 0.0), (100, -3.0), (200, 40.0), (300, f64::NEG_INFINITY)]]
        {
            let svg = wealth(&points, 5.3);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let line = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
            for pair in line.split_whitespace() {
                let (x, y) = pair.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{pair}");
            }
        }
    }
}
