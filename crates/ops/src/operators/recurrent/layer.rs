//! One direction of a recurrent layer over a batch: steps forwards, and backwards through time.
//!
//! Everything is in the order of the steps, so that the reverse direction differs in the caller alone. A
//! sequence that is over keeps its state.

use super::cell::{self, Cell};
use crate::kernels::matrix::{Matrix, MatrixMut, Product, column_sums, multiply, product};

/// Sizes of one direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub steps: usize,
    pub batch: usize,
    pub input: usize,
    pub hidden: usize,
}

/// Parameters of one direction.
#[derive(Debug, Clone)]
pub(super) struct Weights<'a> {
    /// [gates * hidden, input].
    pub w: &'a [f32],
    /// [gates * hidden, hidden].
    pub r: &'a [f32],
    /// [2, gates * hidden]: of `w`, then of `r`.
    pub bias: &'a [f32],
    /// [3, hidden], or empty.
    pub peepholes: &'a [f32],
}

/// One direction, ready to run.
pub(super) struct Layer<'a> {
    pub cell: Cell,
    pub sizes: Sizes,
    pub weights: Weights<'a>,
    /// Steps of each sequence.
    pub lengths: &'a [usize],
}

/// What the way back needs to know of the way there.
pub(super) struct Trace {
    /// States, [steps + 1, batch, hidden]: first the initial one.
    pub h: Vec<f32>,
    /// Cell states, the same; empty for cells that have none.
    pub c: Vec<f32>,
    /// Sums that enter the gates, [steps, batch, gates * hidden].
    pre: Vec<f32>,
    /// GRU: what r scales or has scaled, [steps, batch, hidden].
    scaled: Vec<f32>,
}

/// Gradients of one direction.
pub(super) struct Gradients {
    pub x: Vec<f32>,
    pub w: Vec<f32>,
    pub r: Vec<f32>,
    pub bias: Vec<f32>,
    pub peepholes: Vec<f32>,
    pub h: Vec<f32>,
    pub c: Vec<f32>,
}

impl Layer<'_> {
    fn width(&self) -> usize {
        self.cell.gates() * self.sizes.hidden
    }

    /// Runs all steps over `x` of [steps, batch, input] from the states `h` and `c`.
    pub fn forward(&self, x: &[f32], h: &[f32], c: &[f32]) -> Trace {
        let Sizes { steps, batch, input, hidden } = self.sizes;
        let (width, state) = (self.width(), batch * hidden);
        let rows = steps * batch;
        let mut pre = product(Matrix::new(x, rows, input), Matrix::new(self.weights.w, width, input).t());
        for row in pre.chunks_exact_mut(width.max(1)) {
            row.iter_mut().zip(self.weights.bias).for_each(|(sum, bias)| *sum += bias);
        }
        let mut trace = Trace {
            h: [h, &vec![0.0; rows * hidden]].concat(),
            c: if c.is_empty() { Vec::new() } else { [c, &vec![0.0; rows * hidden]].concat() },
            pre,
            scaled: vec![0.0; if matches!(self.cell, Cell::Gru { .. }) { rows * hidden } else { 0 }],
        };
        for step in 0..steps {
            let (before, after) = trace.h.split_at_mut((step + 1) * state);
            let (h_before, h_after) = (&before[step * state..], &mut after[..state]);
            let pre = &mut trace.pre[step * batch * width..][..batch * width];
            let scaled = trace.scaled.get_mut(step * state..(step + 1) * state).unwrap_or_default();
            self.recurrent(h_before, pre, scaled);
            let mut cells =
                if trace.c.is_empty() { None } else { Some(trace.c.split_at_mut((step + 1) * state)) };
            for row in 0..batch {
                let (states, sums) = (row * hidden..(row + 1) * hidden, row * width..(row + 1) * width);
                let (h_before, h) = (&h_before[states.clone()], &mut h_after[states.clone()]);
                let c = cells.as_mut().map(|(before, after)| {
                    (&before[step * state..][states.clone()], &mut after[..state][states.clone()])
                });
                if step >= self.lengths[row] {
                    h.copy_from_slice(h_before);
                    if let Some((before, after)) = c {
                        after.copy_from_slice(before);
                    }
                    continue;
                }
                match (self.cell, c) {
                    (Cell::Lstm { f, g, h: out, coupled }, Some((c_before, c))) => {
                        cell::lstm(
                            [f, g, out],
                            coupled,
                            c_before,
                            self.weights.peepholes,
                            &mut pre[sums],
                            (h, c),
                        );
                    }
                    (Cell::Gru { f, g, .. }, _) => cell::gru([f, g], h_before, &pre[sums], h),
                    (Cell::Plain { f }, _) => cell::plain(f, &pre[sums], h),
                    (Cell::Lstm { .. }, None) => unreachable!("an LSTM has cell states"),
                }
            }
        }
        trace
    }

    /// Adds what the states before a step contribute to the gates.
    fn recurrent(&self, h: &[f32], pre: &mut [f32], scaled: &mut [f32]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        let (width, r, bias) = (self.width(), self.weights.r, &self.weights.bias[self.width()..]);
        let rows = Matrix::new(h, batch, hidden);
        let add = Product { accumulate: true, ..Product::SERIAL };
        let Cell::Gru { f, reset_after, .. } = self.cell else {
            for row in pre.chunks_exact_mut(width) {
                row.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
            }
            multiply(MatrixMut::new(pre, width), rows, Matrix::new(r, width, hidden).t(), add);
            return;
        };
        let (of_gates, of_new) = r.split_at(2 * hidden * hidden);
        multiply(MatrixMut::new(pre, width), rows, Matrix::new(of_gates, 2 * hidden, hidden).t(), add);
        for row in pre.chunks_exact_mut(width) {
            row[..2 * hidden].iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
        }
        let of_new = Matrix::new(of_new, hidden, hidden).t();
        let bias = &bias[2 * hidden..];
        if reset_after {
            multiply(MatrixMut::new(scaled, hidden), rows, of_new, Product::SERIAL);
            for (row, scaled) in pre.chunks_exact_mut(width).zip(scaled.chunks_exact_mut(hidden)) {
                for k in 0..hidden {
                    scaled[k] += bias[k];
                    row[2 * hidden + k] += f.value(row[hidden + k]) * scaled[k];
                }
            }
            return;
        }
        for (index, scaled) in scaled.iter_mut().enumerate() {
            let (row, k) = (index / hidden, index % hidden);
            *scaled = f.value(pre[row * width + hidden + k]) * h[index];
        }
        let mut new = product(Matrix::new(scaled, batch, hidden), of_new);
        for (row, new) in pre.chunks_exact_mut(width).zip(new.chunks_exact_mut(hidden)) {
            for k in 0..hidden {
                row[2 * hidden + k] += new[k] + bias[k];
            }
        }
    }

    /// The way back: `dy` is the gradient of every step's state, `dh` and `dc` those of the last ones.
    pub fn backward(&self, x: &[f32], trace: &Trace, dy: &[f32], dh: Vec<f32>, dc: Vec<f32>) -> Gradients {
        let Sizes { steps, batch, input, hidden } = self.sizes;
        let (width, state, rows) = (self.width(), batch * hidden, steps * batch);
        // Gradients of the sums as `w` sees them, and as `r` does; a GRU that resets after differs in n.
        let mut da = vec![0.0; rows * width];
        let mut du = vec![0.0; rows * width];
        let mut made = Gradients {
            x: Vec::new(),
            w: Vec::new(),
            r: Vec::new(),
            bias: Vec::new(),
            peepholes: vec![0.0; self.weights.peepholes.len()],
            h: dh,
            c: dc,
        };
        for step in (0..steps).rev() {
            for (index, dy) in dy[step * state..(step + 1) * state].iter().enumerate() {
                if step < self.lengths[index / hidden] {
                    made.h[index] += dy;
                }
            }
            let sums = step * batch * width..(step + 1) * batch * width;
            let (da, du) = (&mut da[sums.clone()], &mut du[sums]);
            self.step_back(step, trace, &mut made, da, du);
        }
        let (da_rows, du_rows) = (Matrix::new(&da, rows, width), Matrix::new(&du, rows, width));
        made.x = product(da_rows, Matrix::new(self.weights.w, width, input));
        made.w = product(da_rows.t(), Matrix::new(x, rows, input));
        let before = Matrix::new(&trace.h[..rows * hidden], rows, hidden);
        made.r = product(du_rows.t(), before);
        if matches!(self.cell, Cell::Gru { reset_after: false, .. }) {
            let of_new =
                Matrix::strided(du.get(2 * hidden..).unwrap_or_default(), [rows, hidden], [width, 1]);
            let r = product(of_new.t(), Matrix::new(&trace.scaled, rows, hidden));
            made.r[2 * hidden * hidden..].copy_from_slice(&r);
        }
        made.bias = [column_sums(&da, width), column_sums(&du, width)].concat();
        made
    }

    /// One step back: `made.h` and `made.c` go from the states after to those before.
    fn step_back(&self, step: usize, trace: &Trace, made: &mut Gradients, da: &mut [f32], du: &mut [f32]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        let (width, state) = (self.width(), batch * hidden);
        for row in (0..batch).filter(|row| step < self.lengths[*row]) {
            let at = |step: usize| step * state + row * hidden..step * state + (row + 1) * hidden;
            let pre = &trace.pre[(step * batch + row) * width..][..width];
            let dh = &mut made.h[row * hidden..(row + 1) * hidden];
            let dpre = &mut da[row * width..(row + 1) * width];
            let h = &trace.h[at(step)];
            match self.cell {
                Cell::Plain { f } => {
                    for k in 0..hidden {
                        dpre[k] = dh[k] * f.slope(pre[k]);
                    }
                    dh.fill(0.0);
                }
                Cell::Lstm { f, g, h: out, coupled } => {
                    let before = &trace.c[at(step)];
                    let dc = &mut made.c[row * hidden..(row + 1) * hidden];
                    let states = (before, &trace.c[at(step + 1)]);
                    let peepholes = self.weights.peepholes;
                    let to = (&mut *dpre, made.peepholes.as_mut_slice());
                    cell::lstm_back([f, g, out], coupled, states, peepholes, pre, (dh, dc), to);
                    dh.fill(0.0);
                }
                Cell::Gru { f, g, .. } => cell::gru_back([f, g], h, pre, dh, dpre),
            }
        }
        if let Cell::Gru { f, reset_after, .. } = self.cell {
            self.reset_back(step, trace, made, (da, du), (f, reset_after));
        } else {
            du.copy_from_slice(da);
            let r = Matrix::new(self.weights.r, width, hidden);
            let add = Product { accumulate: true, ..Product::SERIAL };
            multiply(MatrixMut::new(&mut made.h, hidden), Matrix::new(du, batch, width), r, add);
        }
    }

    /// The way back through the reset gate of a GRU.
    fn reset_back(
        &self,
        step: usize,
        trace: &Trace,
        made: &mut Gradients,
        (da, du): (&mut [f32], &mut [f32]),
        (f, reset_after): (super::curve::Clipped, bool),
    ) {
        let Sizes { batch, hidden, .. } = self.sizes;
        let (width, state) = (self.width(), batch * hidden);
        let (of_gates, of_new) = self.weights.r.split_at(2 * hidden * hidden);
        // The gradient of what r scaled: of the state, or of the finished product.
        let new = Matrix::strided(da.get(2 * hidden..).unwrap_or_default(), [batch, hidden], [width, 1]);
        let through =
            if reset_after { Vec::new() } else { product(new, Matrix::new(of_new, hidden, hidden)) };
        du.copy_from_slice(da);
        for index in (0..state).filter(|index| step < self.lengths[index / hidden]) {
            let (row, k) = (index / hidden * width, index % hidden);
            let pre = trace.pre[step * batch * width + row + hidden + k];
            let (r, scaled) = (f.value(pre), trace.scaled[step * state + index]);
            let dr = if reset_after {
                du[row + 2 * hidden + k] *= r;
                da[row + 2 * hidden + k] * scaled
            } else {
                made.h[index] += through[index] * r;
                through[index] * trace.h[step * state + index]
            };
            let slope = dr * f.slope(pre);
            (da[row + hidden + k], du[row + hidden + k]) = (slope, slope);
        }
        let add = Product { accumulate: true, ..Product::SERIAL };
        let (gates, r) = match reset_after {
            true => (width, self.weights.r),
            false => (2 * hidden, of_gates),
        };
        let sums = Matrix::strided(du, [batch, gates], [width, 1]);
        multiply(MatrixMut::new(&mut made.h, hidden), sums, Matrix::new(r, gates, hidden), add);
    }
}
