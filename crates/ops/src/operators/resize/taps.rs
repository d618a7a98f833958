//! Which elements of an axis a resampled one reads. The formulas are those of the standard's `Resize`
//! (version 19); `Upsample` and the first `Resize` have asymmetric coordinates and round down.

use super::request::Axis;
use crate::kernels::resample::Taps;
use crate::{OpError, Site};

/// How neighbours are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// The taps of every output position of an axis.
pub(super) fn of(site: &Site, axis: &Axis, upsample: bool) -> Result<Taps, OpError> {
    let old = upsample || site.opset < 11;
    let mode = match site.node.text("mode").unwrap_or("nearest") {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" => Mode::Cubic,
        other => return Err(unusable(site, "mode", other)),
    };
    let rounding = if old { "floor" } else { site.node.text("nearest_mode").unwrap_or("round_prefer_floor") };
    let kernel = Kernel {
        mode,
        a: f64::from(site.node.float("cubic_coeff_a").unwrap_or(-0.75)),
        // A kernel as wide as what an output covers, when the axis shrinks.
        stretch: match site.node.int("antialias").unwrap_or(0) {
            0 => 1.0,
            _ => axis.scale.min(1.0),
        },
        exclude_outside: site.node.int("exclude_outside").unwrap_or(0) != 0,
    };
    let mut outputs = Vec::with_capacity(axis.output);
    for position in 0..axis.output {
        let at = if old { position as f64 / axis.scale } else { coordinate(site, axis, position)? };
        outputs.push(match mode {
            Mode::Nearest => {
                let nearest = round(at, rounding).ok_or_else(|| unusable(site, "nearest_mode", rounding))?;
                vec![(clamp(nearest, axis.input), 1.0)]
            }
            _ => kernel.taps(at, axis.input),
        });
    }
    Ok(Taps { input: axis.input, outputs })
}

/// Output positions whose coordinates lie outside of the input, which `tf_crop_and_resize` fills.
pub(super) fn outside(site: &Site, axis: &Axis) -> Result<Vec<usize>, OpError> {
    if site.node.text("coordinate_transformation_mode") != Some("tf_crop_and_resize") {
        return Ok(Vec::new());
    }
    let last = axis.input as f64 - 1.0;
    let mut positions = Vec::new();
    for position in 0..axis.output {
        if !(0.0..=last).contains(&coordinate(site, axis, position)?) {
            positions.push(position);
        }
    }
    Ok(positions)
}

fn unusable(site: &Site, name: &'static str, value: &str) -> OpError {
    let why = format!("\"{value}\" is not supported");
    OpError::Attribute { op: site.node.op.clone(), name, why }
}

/// The place in the input of an output position.
fn coordinate(site: &Site, axis: &Axis, position: usize) -> Result<f64, OpError> {
    let (x, scale, input) = (position as f64, axis.scale, axis.input as f64);
    // As long as the scale says, not as the output is.
    let output = scale * input;
    let half_pixel = (x + 0.5) / scale - 0.5;
    Ok(match site.node.text("coordinate_transformation_mode").unwrap_or("half_pixel") {
        "half_pixel" => half_pixel,
        "half_pixel_symmetric" => input / 2.0 * (1.0 - axis.output as f64 / output) + half_pixel,
        "pytorch_half_pixel" if output == 1.0 => -0.5,
        "pytorch_half_pixel" => half_pixel,
        "align_corners" if output == 1.0 => 0.0,
        "align_corners" => x * (input - 1.0) / (output - 1.0),
        "asymmetric" => x / scale,
        "tf_crop_and_resize" => {
            let [start, end] = axis.region;
            let within = match output == 1.0 {
                true => (end - start) * (input - 1.0) / 2.0,
                false => x * (end - start) * (input - 1.0) / (output - 1.0),
            };
            within + start * (input - 1.0)
        }
        other => return Err(unusable(site, "coordinate_transformation_mode", other)),
    })
}

fn round(at: f64, how: &str) -> Option<i64> {
    let below = at.floor();
    let ratio = at - below;
    let up = match how {
        "round_prefer_floor" => ratio > 0.5,
        "round_prefer_ceil" => ratio >= 0.5,
        "floor" => false,
        "ceil" => ratio > 0.0,
        _ => return None,
    };
    Some(below as i64 + i64::from(up))
}

fn clamp(at: i64, size: usize) -> usize {
    at.clamp(0, size.saturating_sub(1) as i64) as usize
}

struct Kernel {
    mode: Mode,
    /// The free coefficient of Keys 1981.
    a: f64,
    /// Below 1 the kernel is wider by its inverse.
    stretch: f64,
    exclude_outside: bool,
}

impl Kernel {
    fn weight(&self, distance: f64) -> f64 {
        let (d, a) = ((distance * self.stretch).abs(), self.a);
        match self.mode {
            Mode::Cubic if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
            Mode::Cubic if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
            Mode::Cubic => 0.0,
            _ => (1.0 - d).max(0.0),
        }
    }

    fn taps(&self, at: f64, input: usize) -> Vec<(usize, f32)> {
        let reach = if self.mode == Mode::Cubic { 2.0 } else { 1.0 };
        let half = (reach / self.stretch).ceil() as i64;
        let below = at.floor() as i64;
        let neighbours: Vec<(i64, f64)> = (below - half + 1..=below + half)
            .map(|index| (index, self.weight(index as f64 - at)))
            .filter(|(index, _)| !self.exclude_outside || (0..input as i64).contains(index))
            .collect();
        let sum: f64 = neighbours.iter().map(|(_, weight)| weight).sum();
        // Plain kernels add up to one by themselves; what is cut off or stretched is scaled to that.
        let scaled = self.exclude_outside || self.stretch < 1.0;
        let total = if scaled && sum != 0.0 { sum } else { 1.0 };
        neighbours
            .into_iter()
            .filter(|(_, weight)| *weight != 0.0)
            .map(|(index, weight)| (clamp(index, input), (weight / total) as f32))
            .collect()
    }
}
