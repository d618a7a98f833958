//! Layer normalization (Ba, Kiros and Hinton 2016) over rows, statistics in two passes.

use super::simd::{CHUNK, dispatch};
use super::slices::unwritten;
use rayon::prelude::*;

/// Lanes of a sum: enough for two AVX-512 registers' worth of independent additions.
const LANES: usize = 16;

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` for each row of `gamma.len()` elements.
/// An empty `beta` stands for zeros.
pub fn forward(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) -> Vec<f32> {
    let width = gamma.len().max(1);
    let mut y = unwritten(x.len());
    let rows = (CHUNK / width).max(1) * width;
    y.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(y, x)| {
        dispatch(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let (mean, scale) = statistics(x, epsilon);
                    for ((y, &x), &gamma) in y.iter_mut().zip(x).zip(gamma) {
                        *y = (x - mean) * scale * gamma;
                    }
                    for (y, &beta) in y.iter_mut().zip(beta) {
                        *y += beta;
                    }
                }
            },
        );
    });
    y
}

/// Gradients of input, gamma and beta.
pub struct Gradients {
    /// d loss / d x.
    pub x: Vec<f32>,
    /// d loss / d gamma.
    pub gamma: Vec<f32>,
    /// d loss / d beta.
    pub beta: Vec<f32>,
}

/// The reverse rule of [`forward`]; the statistics are computed again.
pub fn backward(x: &[f32], gamma: &[f32], gradient: &[f32], epsilon: f32) -> Gradients {
    let width = gamma.len().max(1);
    let mut dx = unwritten(x.len());
    let rows = (x.len() / width).div_ceil(rayon::current_num_threads() * 2).max(1) * width;
    let parts: Vec<(Vec<f32>, Vec<f32>)> = dx
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
    let mut sums = Gradients { x: dx, gamma: vec![0.0; gamma.len()], beta: vec![0.0; gamma.len()] };
    for (gamma, beta) in parts {
        sums.gamma.iter_mut().zip(gamma).for_each(|(sum, part)| *sum += part);
        sums.beta.iter_mut().zip(beta).for_each(|(sum, part)| *sum += part);
    }
    sums
}

#[inline(always)]
fn backward_rows(
    dx: &mut [f32],
    x: &[f32],
    gamma: &[f32],
    gradient: &[f32],
    epsilon: f32,
) -> (Vec<f32>, Vec<f32>) {
    let width = gamma.len();
    let mut dgamma = vec![0f32; width];
    let mut dbeta = vec![0f32; width];
    let mut normal = vec![0f32; width];
    let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(gradient.chunks_exact(width));
    for ((dx, x), g) in rows {
        let (mean, scale) = statistics(x, epsilon);
        for i in 0..width {
            normal[i] = (x[i] - mean) * scale;
            dgamma[i] += g[i] * normal[i];
            dbeta[i] += g[i];
            dx[i] = g[i] * gamma[i];
        }
        let (first, second) = (sum(dx) / width as f32, dot(dx, &normal) / width as f32);
        for i in 0..width {
            dx[i] = scale * (dx[i] - first - normal[i] * second);
        }
    }
    (dgamma, dbeta)
}

/// Mean and `1 / sqrt(variance + epsilon)` of one row.
#[inline(always)]
fn statistics(x: &[f32], epsilon: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = sum(x) / count;
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().map(|x| (x - mean) * (x - mean)).sum();
    for chunk in chunks {
        for i in 0..LANES {
            let d = chunk[i] - mean;
            lanes[i] += d * d;
        }
    }
    let variance = (lanes.iter().sum::<f32>() + tail) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// Sum of the elements, with the widest vectors of this machine.
pub(super) fn sum_of(x: &[f32]) -> f32 {
    dispatch(
        #[inline(always)]
        || sum(x),
    )
}

#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    lanes.iter().sum::<f32>() + tail
}

#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + tail
}
