//! One step of one sequence: the gates of each kind of cell, forwards and backwards. The equations are those
//! of the standard's `RNN`, `GRU` and `LSTM`.

use super::curve::Clipped;

/// The kinds of cells, with their functions and options.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell {
    /// `h = f(a)`.
    Plain { f: Clipped },
    /// Gates z, r, n; `h = (1 - z) n + z h'`. With `reset_after`, r scales the finished product of `h'` and
    /// its weights, else `h'` itself.
    Gru { f: Clipped, g: Clipped, reset_after: bool },
    /// Gates i, o, f, g; `c = f c' + i g`, `h = o h(c)`. With `coupled`, `f = 1 - i`.
    Lstm { f: Clipped, g: Clipped, h: Clipped, coupled: bool },
}

impl Cell {
    /// Blocks of `hidden` rows in the weights.
    pub fn gates(self) -> usize {
        match self {
            Self::Plain { .. } => 1,
            Self::Gru { .. } => 3,
            Self::Lstm { .. } => 4,
        }
    }
}

/// Weights of the cell state in the gates i, o, f; empty for none.
pub(super) type Peepholes<'a> = &'a [f32];

fn peep(peepholes: Peepholes, index: usize) -> f32 {
    peepholes.get(index).copied().unwrap_or(0.0)
}

/// A step of a `Plain` cell.
pub(super) fn plain(f: Clipped, pre: &[f32], h: &mut [f32]) {
    h.iter_mut().zip(pre).for_each(|(h, pre)| *h = f.value(*pre));
}

/// A step of an LSTM from the cell state `before`; completes `pre` by the peepholes.
pub(super) fn lstm(
    [f, g, out]: [Clipped; 3],
    coupled: bool,
    before: &[f32],
    peepholes: Peepholes,
    pre: &mut [f32],
    (h, c): (&mut [f32], &mut [f32]),
) {
    let n = h.len();
    for k in 0..n {
        pre[k] += peep(peepholes, k) * before[k];
        pre[2 * n + k] += peep(peepholes, 2 * n + k) * before[k];
        let i = f.value(pre[k]);
        let forget = if coupled { 1.0 - i } else { f.value(pre[2 * n + k]) };
        c[k] = forget * before[k] + i * g.value(pre[3 * n + k]);
        pre[n + k] += peep(peepholes, n + k) * c[k];
        h[k] = f.value(pre[n + k]) * out.value(c[k]);
    }
}

/// The reverse of [`lstm`]. `dc` holds the gradient of the state after the step and takes that of the one
/// before; `dpre` is written; `dpeep` is added to.
pub(super) fn lstm_back(
    [f, g, out]: [Clipped; 3],
    coupled: bool,
    (before, c): (&[f32], &[f32]),
    peepholes: Peepholes,
    pre: &[f32],
    (dh, dc): (&[f32], &mut [f32]),
    (dpre, dpeep): (&mut [f32], &mut [f32]),
) {
    let n = dh.len();
    for k in 0..n {
        let (i, o, input) = (f.value(pre[k]), f.value(pre[n + k]), g.value(pre[3 * n + k]));
        let forget = if coupled { 1.0 - i } else { f.value(pre[2 * n + k]) };
        dpre[n + k] = dh[k] * out.value(c[k]) * f.slope(pre[n + k]);
        let dstate = dc[k] + dh[k] * o * out.slope(c[k]) + peep(peepholes, n + k) * dpre[n + k];
        let dforget = dstate * before[k];
        let di = dstate * input - if coupled { dforget } else { 0.0 };
        dpre[k] = di * f.slope(pre[k]);
        dpre[2 * n + k] = if coupled { 0.0 } else { dforget * f.slope(pre[2 * n + k]) };
        dpre[3 * n + k] = dstate * i * g.slope(pre[3 * n + k]);
        dc[k] = dstate * forget + peep(peepholes, k) * dpre[k] + peep(peepholes, 2 * n + k) * dpre[2 * n + k];
        if !dpeep.is_empty() {
            dpeep[k] += dpre[k] * before[k];
            dpeep[n + k] += dpre[n + k] * c[k];
            dpeep[2 * n + k] += dpre[2 * n + k] * before[k];
        }
    }
}

/// The last part of a GRU step, once `pre` is complete.
pub(super) fn gru([f, g]: [Clipped; 2], before: &[f32], pre: &[f32], h: &mut [f32]) {
    let n = h.len();
    for k in 0..n {
        let z = f.value(pre[k]);
        h[k] = (1.0 - z) * g.value(pre[2 * n + k]) + z * before[k];
    }
}

/// The reverse of [`gru`]: gradients of z's and n's sums, and of the state before, as far as it goes by z.
pub(super) fn gru_back([f, g]: [Clipped; 2], before: &[f32], pre: &[f32], dh: &mut [f32], dpre: &mut [f32]) {
    let n = dh.len();
    for k in 0..n {
        let (z, new) = (f.value(pre[k]), g.value(pre[2 * n + k]));
        dpre[k] = dh[k] * (before[k] - new) * f.slope(pre[k]);
        dpre[2 * n + k] = dh[k] * (1.0 - z) * g.slope(pre[2 * n + k]);
        dh[k] *= z;
    }
}
