//! Small plots as inline SVG. Colours are CSS classes of the page, so they follow light and dark;
//! every mark has a `<title>`, which browsers show on hover without a script.

mod balance;
mod confusion;
mod frontier;
mod learning_curve;
mod lines;
mod reliability;

pub(super) use balance::balance;
pub(super) use confusion::confusion;
pub(super) use frontier::frontier;
pub(super) use learning_curve::learning_curve;
pub(super) use lines::{Axis, Line, Mark, lines};
pub(super) use reliability::reliability;

/// An axis from data to pixels.
#[derive(Clone, Copy)]
struct Scale {
    domain: (f64, f64),
    pixels: (f64, f64),
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let (low, high) = self.domain;
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// Round numbers inside the domain, about `wanted` of them.
    fn ticks(&self, wanted: usize) -> Vec<f64> {
        let (low, high) = self.domain;
        let step = nice_step((high - low) / wanted.max(1) as f64);
        let first = (low / step).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        (first..=last).take(50).map(|tick| tick as f64 * step).collect()
    }
}

/// The least of 1, 2, 5 times a power of ten that is at least `raw`.
fn nice_step(raw: f64) -> f64 {
    if !(raw.is_finite() && raw > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= raw * 0.999)
        .unwrap_or(raw)
}

/// The least and greatest finite value, widened a little; `None` without any.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |range, v| (range.0.min(v), range.1.max(v)));
    (low <= high).then(|| {
        let room = if high > low { 0.06 * (high - low) } else { 0.05 * high.abs().max(0.1) };
        (low - room, high + room)
    })
}

/// A tick's number without needless zeros.
fn tick_text(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The opening tag of a plot, with what a screen reader says.
fn open(width: f64, height: f64, description: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" style=\"max-width:{width:.0}px\" role=\"img\" aria-label=\"{description}\">\n"
    )
}

/// Horizontal grid lines with their numbers to the left.
fn horizontal_grid(y: &Scale, left: f64, right: f64, wanted: usize) -> String {
    y.ticks(wanted)
        .into_iter()
        .map(|tick| {
            let at = y.at(tick);
            format!(
                "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                left - 6.0,
                at + 3.5,
                tick_text(tick)
            )
        })
        .collect()
}

/// Numbers below an axis at `y`.
fn horizontal_ticks(x: &Scale, y: f64, wanted: usize) -> String {
    x.ticks(wanted)
        .into_iter()
        .map(|tick| {
            let at = x.at(tick);
            format!(
                "<text class=\"tick\" x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>\n",
                tick_text(tick)
            )
        })
        .collect()
}
