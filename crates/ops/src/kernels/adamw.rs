//! AdamW (Loshchilov and Hutter 2019, algorithm 2): one pass over parameter, gradient and both moments.

use super::simd::{CHUNK, dispatch};
use rayon::prelude::*;

/// Settings of one step. `step` counts from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the names are the paper's")]
pub struct Settings {
    pub learning_rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// Decoupled from the gradient: the parameter shrinks by `learning_rate * weight_decay`.
    pub weight_decay: f32,
    pub step: u32,
    /// Factor of every gradient (clipping, accumulation).
    pub gradient_scale: f32,
}

impl Default for Settings {
    /// The defaults of PyTorch's `AdamW`, at its first step.
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            step: 1,
            gradient_scale: 1.0,
        }
    }
}

/// Changes `parameter` and both moments by one step.
///
/// # Panics
/// When the slices differ in length.
pub fn update(
    parameter: &mut [f32],
    gradient: &[f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
    settings: &Settings,
) {
    let count = parameter.len();
    assert!(
        gradient.len() == count && first_moment.len() == count && second_moment.len() == count,
        "parameter, gradient and moments have one length"
    );
    let Settings { learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale } = *settings;
    let keep = 1.0 - learning_rate * weight_decay;
    let rate = (f64::from(learning_rate) / (1.0 - f64::from(beta1).powi(step as i32))) as f32;
    let correction = (1.0 / (1.0 - f64::from(beta2).powi(step as i32))) as f32;
    parameter
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(first_moment.par_chunks_mut(CHUNK))
        .zip(second_moment.par_chunks_mut(CHUNK))
        .for_each(|(((p, g), m), v)| {
            dispatch(
                #[inline(always)]
                || {
                    for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                        let g = g * gradient_scale;
                        *m = beta1 * *m + (1.0 - beta1) * g;
                        *v = beta2 * *v + (1.0 - beta2) * g * g;
                        *p = *p * keep - rate * *m / ((*v * correction).sqrt() + epsilon);
                    }
                },
            );
        });
}

/// Sum of squares, for the norm of all gradients. The same bits for any number of threads.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    values
        .par_chunks(CHUNK)
        .map(|part| f64::from(super::layer_norm::dot(part, part)))
        .collect::<Vec<f64>>()
        .iter()
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_match_pytorch() {
        // torch.optim.AdamW([0.5, -1.0], lr=0.1, weight_decay=0.1), gradients [0.2, -0.4] then [0.1, 0.3].
        let (mut p, mut m, mut v) = ([0.5, -1.0], [0.0; 2], [0.0; 2]);
        let settings = Settings { learning_rate: 0.1, weight_decay: 0.1, ..Settings::default() };
        update(&mut p, &[0.2, -0.4], &mut m, &mut v, &settings);
        assert!((p[0] - 0.395).abs() < 1e-6 && (p[1] + 0.89).abs() < 1e-6, "{p:?}");
        update(&mut p, &[0.1, 0.3], &mut m, &mut v, &Settings { step: 2, ..settings });
        assert!((p[0] - 0.297_832).abs() < 1e-6 && (p[1] + 0.872_167).abs() < 1e-6, "{p:?}");
    }
}
