//! Rotary position embedding (Su et al. 2021) of rows whose halves are turned against each other.

use super::simd::dispatch;
use super::slices::unwritten;
use rayon::prelude::*;

/// Rows that one task turns.
const ROWS: usize = 32;

/// `x * cos + (-x2, x1) * sin` for rows `(x1, x2)` of `width` elements; row `i` of `x` takes row `angles[i]`
/// of the tables.
///
/// # Panics
/// When a table has no such row, or there are fewer `angles` than rows.
pub fn forward(x: &[f32], width: usize, cos: &[f32], sin: &[f32], angles: &[usize]) -> Vec<f32> {
    each_row(x, width, angles, |y, x, row| {
        let (cos, sin) = (&cos[row * width..][..width], &sin[row * width..][..width]);
        let half = width / 2;
        for k in 0..half {
            y[k] = x[k] * cos[k] - x[k + half] * sin[k];
            y[k + half] = x[k + half] * cos[k + half] + x[k] * sin[k + half];
        }
    })
}

/// The transpose of [`forward`], for a gradient.
///
/// # Panics
/// As [`forward`].
pub fn backward(gradient: &[f32], width: usize, cos: &[f32], sin: &[f32], angles: &[usize]) -> Vec<f32> {
    each_row(gradient, width, angles, |dx, g, row| {
        let (cos, sin) = (&cos[row * width..][..width], &sin[row * width..][..width]);
        let half = width / 2;
        for k in 0..half {
            dx[k] = g[k] * cos[k] + g[k + half] * sin[k + half];
            dx[k + half] = g[k + half] * cos[k + half] - g[k] * sin[k];
        }
    })
}

fn each_row(
    x: &[f32],
    width: usize,
    angles: &[usize],
    turn: impl Fn(&mut [f32], &[f32], usize) + Sync + Copy,
) -> Vec<f32> {
    let mut y = unwritten(x.len());
    let block = ROWS * width.max(1);
    y.par_chunks_mut(block).zip(x.par_chunks(block)).zip(angles.par_chunks(ROWS)).for_each(
        |((y, x), angles)| {
            dispatch(
                #[inline(always)]
                || {
                    let rows = y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(angles);
                    rows.for_each(|((y, x), row)| turn(y, x, *row));
                },
            );
        },
    );
    y
}
