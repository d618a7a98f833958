//! From a place between -1 and 1 to the elements around it.

use crate::{OpError, Site};

/// An element that a point reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    /// Its position in the plane.
    pub at: usize,
    pub weight: f32,
    /// How the weight changes with the grid's number for each axis, outermost first.
    pub slopes: [f32; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// How places are read.
pub(super) struct Places {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
    input: Vec<usize>,
}

/// A neighbour along one axis, with its weight and the slope of that.
type Neighbour = (usize, f64, f64);

impl Places {
    pub fn new(site: &Site, input: &[usize]) -> Result<Self, OpError> {
        let unusable = |name: &'static str, value: &str| OpError::Attribute {
            op: site.node.op.clone(),
            name,
            why: format!("\"{value}\" is not supported"),
        };
        let mode = match site.node.text("mode").unwrap_or("linear") {
            "nearest" => Mode::Nearest,
            "linear" | "bilinear" => Mode::Linear,
            "cubic" | "bicubic" => Mode::Cubic,
            other => return Err(unusable("mode", other)),
        };
        let padding = match site.node.text("padding_mode").unwrap_or("zeros") {
            "zeros" => Padding::Zeros,
            "border" => Padding::Border,
            "reflection" => Padding::Reflection,
            other => return Err(unusable("padding_mode", other)),
        };
        let align_corners = site.node.int("align_corners").unwrap_or(0) != 0;
        Ok(Self { mode, padding, align_corners, input: input.to_vec() })
    }

    /// What a point reads; the grid names the innermost axis first.
    pub fn taps(&self, point: &[f32]) -> Vec<Tap> {
        let mut taps = vec![Tap { at: 0, weight: 1.0, slopes: [0.0; 3] }];
        for (axis, (size, place)) in self.input.iter().zip(point.iter().rev()).enumerate() {
            let neighbours = self.neighbours(f64::from(*place), *size);
            let extend = |tap: &Tap| {
                let tap = *tap;
                neighbours.iter().map(move |(at, weight, slope)| {
                    let mut slopes = tap.slopes.map(|before| before * *weight as f32);
                    slopes[axis] = tap.weight * *slope as f32;
                    Tap { at: tap.at * size + at, weight: tap.weight * *weight as f32, slopes }
                })
            };
            taps = taps.iter().flat_map(extend).collect();
        }
        taps
    }

    /// The lowest and the highest coordinate that lie inside.
    fn border(&self, size: usize) -> (f64, f64) {
        let last = size as f64 - 1.0;
        if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) }
    }

    fn neighbours(&self, place: f64, size: usize) -> Vec<Neighbour> {
        let length = size as f64;
        let (mut x, mut slope) = match self.align_corners {
            true => ((place + 1.0) / 2.0 * (length - 1.0), (length - 1.0) / 2.0),
            false => (((place + 1.0) * length - 1.0) / 2.0, length / 2.0),
        };
        if self.mode == Mode::Nearest {
            x = x.round_ties_even();
        }
        let (low, high) = self.border(size);
        if x < low || x > high {
            match self.padding {
                Padding::Zeros => {}
                Padding::Border => (x, slope) = (x.clamp(0.0, length - 1.0), 0.0),
                Padding::Reflection => {
                    let (reflected, sign) = reflect(x, low, high);
                    (x, slope) = (reflected, slope * sign);
                }
            }
        }
        let below = x.floor();
        let t = x - below;
        let weights: Vec<(i64, f64, f64)> = match self.mode {
            Mode::Nearest => vec![(0, 1.0, 0.0)],
            Mode::Linear => vec![(0, 1.0 - t, -1.0), (1, t, 1.0)],
            Mode::Cubic => {
                (-1..=2).map(|step| (step, cubic(t - step as f64), cubic_slope(t - step as f64))).collect()
            }
        };
        let inside = |step: i64| self.index(below as i64 + step, size);
        weights
            .into_iter()
            .filter_map(|(step, weight, rise)| Some((inside(step)?, weight, rise * slope)))
            .collect()
    }

    /// The element that stands at `index`; `None` for a zero of the padding.
    fn index(&self, index: i64, size: usize) -> Option<usize> {
        let last = size as i64 - 1;
        match self.padding {
            Padding::Zeros => usize::try_from(index).ok().filter(|index| *index < size),
            Padding::Border => Some(index.clamp(0, last) as usize),
            Padding::Reflection => {
                let (low, high) = self.border(size);
                Some((reflect(index as f64, low, high).0 as i64).clamp(0, last) as usize)
            }
        }
    }
}

/// `x` reflected at the borders until it lies between them, and the sign of the slope.
fn reflect(x: f64, low: f64, high: f64) -> (f64, f64) {
    let range = high - low;
    if range <= 0.0 {
        return (low, 0.0);
    }
    let (distance, from_low) = match x < low {
        true => (low - x, true),
        false if x > high => (x - high, false),
        false => return (x, 1.0),
    };
    let (turns, rest) = ((distance / range).floor(), distance % range);
    let even = turns % 2.0 == 0.0;
    // Each border that is met turns the direction.
    match from_low == even {
        true => (low + rest, if from_low { -1.0 } else { 1.0 }),
        false => (high - rest, if from_low { 1.0 } else { -1.0 }),
    }
}

/// Keys 1981, with -0.75 as PyTorch has it.
const A: f64 = -0.75;

fn cubic(distance: f64) -> f64 {
    match distance.abs() {
        d if d <= 1.0 => ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0,
        d if d < 2.0 => ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A,
        _ => 0.0,
    }
}

fn cubic_slope(distance: f64) -> f64 {
    let slope = match distance.abs() {
        d if d <= 1.0 => (3.0 * (A + 2.0) * d - 2.0 * (A + 3.0)) * d,
        d if d < 2.0 => (3.0 * A * d - 10.0 * A) * d + 8.0 * A,
        _ => 0.0,
    };
    slope * distance.signum()
}
