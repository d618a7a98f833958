//! Root mean square normalization (Zhang and Sennrich 2019) over rows.

use super::layer_norm::dot;
use super::simd::{CHUNK, dispatch};
use super::slices::unwritten;
use rayon::prelude::*;

/// `x / sqrt(mean(x^2) + epsilon) * gamma` for each row of `gamma.len()` elements.
pub fn forward(x: &[f32], gamma: &[f32], epsilon: f32) -> Vec<f32> {
    let width = gamma.len().max(1);
    let mut y = unwritten(x.len());
    let rows = (CHUNK / width).max(1) * width;
    y.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(y, x)| {
        dispatch(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let inverse = inverse_root(x, epsilon);
                    for ((y, &x), &gamma) in y.iter_mut().zip(x).zip(gamma) {
                        *y = x * inverse * gamma;
                    }
                }
            },
        );
    });
    y
}

/// Gradients of input and gamma; the roots are computed again.
pub fn backward(x: &[f32], gamma: &[f32], gradient: &[f32], epsilon: f32) -> (Vec<f32>, Vec<f32>) {
    let width = gamma.len().max(1);
    let mut dx = unwritten(x.len());
    let rows = (x.len() / width).div_ceil(rayon::current_num_threads() * 2).max(1) * width;
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(rows)
        .zip(x.par_chunks(rows))
        .zip(gradient.par_chunks(rows))
        .map(|((dx, x), gradient)| {
            dispatch(
                #[inline(always)]
                || backward_rows(dx, x, gamma, gradient, epsilon),
            )
        })
        .collect();
    let mut dgamma = vec![0.0; gamma.len()];
    for part in parts {
        dgamma.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    (dx, dgamma)
}

/// With `r` the inverse root and `s = g * gamma`: `r * (s - x * r^2 * mean(s * x))`.
#[inline(always)]
fn backward_rows(dx: &mut [f32], x: &[f32], gamma: &[f32], gradient: &[f32], epsilon: f32) -> Vec<f32> {
    let width = gamma.len();
    let mut dgamma = vec![0f32; width];
    let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(gradient.chunks_exact(width));
    for ((dx, x), g) in rows {
        let inverse = inverse_root(x, epsilon);
        for i in 0..width {
            dgamma[i] += g[i] * x[i] * inverse;
            dx[i] = g[i] * gamma[i];
        }
        let along = dot(dx, x) / width as f32 * inverse * inverse;
        for i in 0..width {
            dx[i] = inverse * (dx[i] - x[i] * along);
        }
    }
    dgamma
}

#[inline(always)]
fn inverse_root(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + epsilon).sqrt()
}
