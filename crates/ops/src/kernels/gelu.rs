//! GELU (Hendrycks and Gimpel 2016): `x * Phi(x)`, and its approximation by tanh.

use super::{elementwise, math};
use candle_core::{Result, Tensor};
use std::f32::consts::FRAC_1_SQRT_2;

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
const INVERSE_SQRT_2_PI: f32 = 0.398_942_3;

/// `x * Phi(x)`.
///
/// # Errors
/// When `x` is no float32 tensor on the CPU.
pub fn forward(x: &Tensor) -> Result<Tensor> {
    elementwise::map(
        x,
        #[inline(always)]
        |x| 0.5 * x * (1.0 + math::erf_and_exp(x * FRAC_1_SQRT_2).0),
    )
}

/// Gradient of [`forward`].
///
/// # Errors
/// When one is no float32 tensor on the CPU.
pub fn backward(x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    elementwise::zip(
        x,
        gradient,
        #[inline(always)]
        |x, g| {
            let (erf, exp) = math::erf_and_exp(x * FRAC_1_SQRT_2);
            g * (0.5 * (1.0 + erf) + INVERSE_SQRT_2_PI * x * exp)
        },
    )
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
///
/// # Errors
/// When `x` is no float32 tensor on the CPU.
pub fn tanh_forward(x: &Tensor) -> Result<Tensor> {
    elementwise::map(
        x,
        #[inline(always)]
        |x| 0.5 * x * (1.0 + math::tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x))),
    )
}

/// Gradient of [`tanh_forward`].
///
/// # Errors
/// When one is no float32 tensor on the CPU.
pub fn tanh_backward(x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    elementwise::zip(
        x,
        gradient,
        #[inline(always)]
        |x, g| {
            let t = math::tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x));
            let inner = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
            g * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
        },
    )
}
