//! Pools over windows of up to three spatial dimensions, a plane (one image and channel) a task.

use super::patches::inside;
use rayon::prelude::*;

/// Sizes of a pool; fewer than three spatial dimensions have leading ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub struct Sizes {
    /// Images times channels.
    pub planes: usize,
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub strides: [usize; 3],
    pub dilations: [usize; 3],
    /// Padding in front and behind.
    pub pads: [(usize, usize); 3],
}

impl Sizes {
    /// Positions of one input plane.
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Positions of one output plane.
    pub fn output_len(&self) -> usize {
        self.output.iter().product()
    }

    /// The elements of a window inside one dimension of the input: first, one past the last, step.
    fn taps(&self, axis: usize, out: usize) -> (usize, usize, usize) {
        let (dilation, start) = (self.dilations[axis], out * self.strides[axis]);
        let offset = start as isize - self.pads[axis].0 as isize;
        let (low, high) = inside(offset, dilation, self.input[axis], self.kernel[axis]);
        let at = |tap: usize| (offset + (tap * dilation) as isize) as usize;
        if low < high { (at(low), at(high - 1) + 1, dilation) } else { (0, 0, 1) }
    }

    /// Elements of a window along one dimension that lie inside the padded input.
    fn padded_taps(&self, axis: usize, out: usize) -> usize {
        let (before, after) = self.pads[axis];
        let room = self.input[axis] + before + after - out * self.strides[axis];
        self.kernel[axis].min(room.div_ceil(self.dilations[axis]))
    }

    /// What the sum of each window of a plane is divided by for a mean.
    pub fn divisors(&self, count_padding: bool) -> Vec<f32> {
        let mut divisors = vec![0f32; self.output_len()];
        self.each(|output, window| divisors[output] = Pool::divisor(count_padding, window, self));
        divisors
    }

    /// Calls `f(output, [taps; 3], window)` for each output position of a plane.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, &Window)) {
        let along = |axis| (0..self.output[axis]).map(|at| self.taps(axis, at)).collect::<Vec<_>>();
        let [outer, inner, last] = [along(0), along(1), along(2)];
        let mut output = 0;
        for (a, outer) in outer.iter().enumerate() {
            for (b, inner) in inner.iter().enumerate() {
                for (c, last) in last.iter().enumerate() {
                    let taps = [*outer, *inner, *last];
                    f(output, &Window { taps, lines: [self.input[1], self.input[2]], at: [a, b, c] });
                    output += 1;
                }
            }
        }
    }
}

/// The input positions of one output.
struct Window {
    taps: [(usize, usize, usize); 3],
    lines: [usize; 2],
    at: [usize; 3],
}

impl Window {
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize)) {
        let [a, b, c] = self.taps;
        // Plain loops: windows are so small that stepping iterators cost more than the elements.
        let (mut i, mut j, mut k);
        i = a.0;
        while i < a.1 {
            j = b.0;
            while j < b.1 {
                let line = (i * self.lines[0] + j) * self.lines[1];
                k = c.0;
                while k < c.1 {
                    f(line + k);
                    k += c.2;
                }
                j += b.2;
            }
            i += a.2;
        }
    }

    fn len(&self) -> usize {
        self.taps.iter().map(|(first, end, step)| (end - first).div_ceil(*step)).product()
    }
}

/// Which mean, norm or extreme of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pool {
    /// The largest element.
    Max,
    /// The mean of the elements; with those in the padding counted as zeros, if asked.
    #[allow(missing_docs, reason = "the name says it")]
    Mean { count_padding: bool },
    /// `(sum of |x|^p)^(1/p)`.
    Norm(f32),
}

impl Pool {
    fn divisor(count_padding: bool, window: &Window, sizes: &Sizes) -> f32 {
        let count = match count_padding {
            true => (0..3).map(|axis| sizes.padded_taps(axis, window.at[axis])).product(),
            false => window.len(),
        };
        (count as f32).max(1.0)
    }
}

/// One number for each window.
pub fn forward(x: &[f32], pool: Pool, sizes: &Sizes) -> Vec<f32> {
    let mut y = vec![0f32; sizes.planes * sizes.output_len()];
    planes(&mut y, sizes.output_len(), |plane, y| {
        let x = &x[plane * sizes.input_len()..][..sizes.input_len()];
        sizes.each(|output, window| {
            y[output] = match pool {
                Pool::Max => {
                    let mut largest = f32::NEG_INFINITY;
                    window
                        .each(|at| largest = if x[at] > largest || x[at].is_nan() { x[at] } else { largest });
                    largest
                }
                Pool::Mean { count_padding } => {
                    let mut sum = 0.0;
                    window.each(|at| sum += x[at]);
                    sum / Pool::divisor(count_padding, window, sizes)
                }
                Pool::Norm(p) => {
                    let mut sum = 0.0;
                    window.each(|at| sum += x[at].abs().powf(p));
                    sum.powf(1.0 / p)
                }
            };
        });
    });
    y
}

/// Where in the whole input the largest element of each window lies: the first of equal ones. With
/// `column_major`, positions of a plane are counted with the last two dimensions exchanged.
pub fn largest_at(x: &[f32], column_major: bool, sizes: &Sizes) -> Vec<i64> {
    let length = sizes.input_len();
    let [_, height, width] = sizes.input;
    let of_plane = |plane: usize| -> Vec<i64> {
        let x = &x[plane * length..][..length];
        let mut indices = vec![0; sizes.output_len()];
        sizes.each(|output, window| {
            let mut best: Option<usize> = None;
            window.each(|at| {
                if best.is_none_or(|best| x[at] > x[best]) {
                    best = Some(at);
                }
            });
            let at = best.unwrap_or(0);
            let (outer, inner, last) = (at / (height * width), at / width % height, at % width);
            let depth = sizes.input[0];
            let place = if column_major { (last * height + inner) * depth + outer } else { at };
            indices[output] = (plane * length + place) as i64;
        });
        indices
    };
    (0..sizes.planes).into_par_iter().flat_map_iter(of_plane).collect()
}

/// The gradient of the input of [`forward`]; of equal largest elements the first one has it.
pub fn backward(x: &[f32], y: &[f32], gradient: &[f32], pool: Pool, sizes: &Sizes) -> Vec<f32> {
    let (inputs, outputs) = (sizes.input_len(), sizes.output_len());
    let mut dx = vec![0f32; sizes.planes * inputs];
    planes(&mut dx, inputs, |plane, dx| {
        let g = &gradient[plane * outputs..][..outputs];
        // A mean needs neither.
        let (x, y) = match pool {
            Pool::Mean { .. } => (&[][..], &[][..]),
            _ => (&x[plane * inputs..][..inputs], &y[plane * outputs..][..outputs]),
        };
        sizes.each(|output, window| match pool {
            Pool::Max => {
                let mut first = None;
                window.each(|at| first = first.or((x[at] == y[output]).then_some(at)));
                if let Some(at) = first {
                    dx[at] += g[output];
                }
            }
            Pool::Mean { count_padding } => {
                let share = g[output] / Pool::divisor(count_padding, window, sizes);
                window.each(|at| dx[at] += share);
            }
            Pool::Norm(p) => {
                // At 0 the norm has a kink: its gradient there is taken as 0.
                let scale = if y[output] > 0.0 { g[output] / y[output].powf(p - 1.0) } else { 0.0 };
                window.each(|at| {
                    if x[at] != 0.0 {
                        dx[at] += scale * x[at].abs().powf(p - 1.0) * x[at].signum();
                    }
                });
            }
        });
    });
    dx
}

fn planes(data: &mut [f32], length: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    if length > 0 {
        data.par_chunks_mut(length).enumerate().for_each(|(plane, data)| f(plane, data));
    }
}
