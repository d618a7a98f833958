//! Softmax over rows, and cross-entropy with it.

use super::attention;
use super::simd::{CHUNK, dispatch};
use rayon::prelude::*;

/// Softmax of each row of `columns` elements.
pub fn forward(x: &[f32], columns: usize) -> Vec<f32> {
    let mut y = x.to_vec();
    let rows = (CHUNK / columns.max(1)).max(1) * columns.max(1);
    y.par_chunks_mut(rows).for_each(|part| {
        dispatch(
            #[inline(always)]
            || part.chunks_exact_mut(columns).for_each(attention::softmax),
        );
    });
    y
}

/// Gradient of [`forward`] from its result.
pub fn backward(y: &[f32], gradient: &[f32], columns: usize) -> Vec<f32> {
    let mut dx = gradient.to_vec();
    let rows = (CHUNK / columns.max(1)).max(1) * columns.max(1);
    dx.par_chunks_mut(rows)
        .zip(y.par_chunks(rows))
        .for_each(|(dx, y)| attention::softmax_backward(y, dx, columns));
    dx
}
