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
    let change = Change::new(settings);
    parameter
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(first_moment.par_chunks_mut(CHUNK))
        .zip(second_moment.par_chunks_mut(CHUNK))
        .for_each(|(((p, g), m), v)| {
            dispatch(
                #[inline(always)]
                || change.make(p, g.iter(), m, v),
            );
        });
}

/// The same where the gradient is zero but for some rows of the parameter, `width` elements each: `rows`, ascending, with
/// their gradients in `gradient`. Every element takes part: the moments of a row that is not read fade too, as they do
/// with a gradient of zeros.
///
/// # Panics
/// When the slices do not fit together, or a row is out of range.
pub fn update_rows(
    parameter: &mut [f32],
    (rows, gradient): (&[usize], &[f32]),
    width: usize,
    first_moment: &mut [f32],
    second_moment: &mut [f32],
    settings: &Settings,
) {
    let count = parameter.len();
    assert!(
        gradient.len() == rows.len() * width && first_moment.len() == count && second_moment.len() == count,
        "parameter, gradient and moments fit together"
    );
    if width == 0 {
        return;
    }
    assert!(rows.last().is_none_or(|last| *last < count / width), "rows of the parameter");
    let change = Change::new(settings);
    let part = (CHUNK / width).max(1);
    parameter
        .par_chunks_mut(part * width)
        .zip(first_moment.par_chunks_mut(part * width))
        .zip(second_moment.par_chunks_mut(part * width))
        .enumerate()
        .for_each(|(index, ((p, m), v))| {
            let begin = index * part;
            let mut next = rows.partition_point(|row| *row < begin);
            let lines =
                p.chunks_exact_mut(width).zip(m.chunks_exact_mut(width)).zip(v.chunks_exact_mut(width));
            for (row, ((p, m), v)) in (begin..).zip(lines) {
                let gradient = (rows.get(next) == Some(&row)).then(|| &gradient[next * width..][..width]);
                next += usize::from(gradient.is_some());
                dispatch(
                    #[inline(always)]
                    || match gradient {
                        Some(gradient) => change.make(p, gradient.iter(), m, v),
                        None => change.make(p, std::iter::repeat_n(&0.0, width), m, v),
                    },
                );
            }
        });
}

/// A step's numbers, the same for all elements.
struct Change {
    settings: Settings,
    /// What is left of a parameter that decays.
    keep: f32,
    rate: f32,
    correction: f32,
}

impl Change {
    fn new(settings: &Settings) -> Self {
        let Settings { learning_rate, beta1, beta2, weight_decay, step, .. } = *settings;
        Self {
            settings: *settings,
            keep: 1.0 - learning_rate * weight_decay,
            rate: (f64::from(learning_rate) / (1.0 - f64::from(beta1).powi(step as i32))) as f32,
            correction: (1.0 / (1.0 - f64::from(beta2).powi(step as i32))) as f32,
        }
    }

    #[inline(always)]
    fn make<'a>(&self, p: &mut [f32], g: impl Iterator<Item = &'a f32>, m: &mut [f32], v: &mut [f32]) {
        let Settings { beta1, beta2, epsilon, gradient_scale, .. } = self.settings;
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * gradient_scale;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *p = *p * self.keep - self.rate * *m / ((*v * self.correction).sqrt() + epsilon);
        }
    }
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
    fn rows_take_the_step_of_a_gradient_with_zeros() {
        let values = |from: f32, count: usize| -> Vec<f32> {
            (0..count).map(|i| from + (i as f32 * 0.37).sin()).collect()
        };
        for (count, width, rows) in [(7, 3, vec![0, 2, 6]), (9000, 5, vec![1, 4000, 8999]), (4, 2, vec![])] {
            let gradient = values(0.3, rows.len() * width);
            let mut whole = vec![0.0; count * width];
            for (&row, part) in rows.iter().zip(gradient.chunks(width)) {
                whole[row * width..][..width].copy_from_slice(part);
            }
            let start = || (values(1.0, count * width), values(0.1, count * width), vec![0.2; count * width]);
            let ((mut p, mut m, mut v), (mut q, mut n, mut w)) = (start(), start());
            let settings =
                Settings { step: 3, weight_decay: 0.1, gradient_scale: 0.7, ..Settings::default() };
            update(&mut p, &whole, &mut m, &mut v, &settings);
            update_rows(&mut q, (&rows, &gradient), width, &mut n, &mut w, &settings);
            assert!(p == q && m == n && v == w, "{count} rows of {width}");
        }
    }

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
