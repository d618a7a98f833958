//! Normalization over groups of planes, in float32.

use candle_core::{DType, Result, Tensor};

/// How planes belong together: a tensor seen as [batch, groups, channels of a group, positions].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Groups {
    pub shape: [usize; 4],
    /// Axes of that shape over which mean and variance are taken.
    pub axes: &'static [usize],
}

/// What elements are shifted and scaled by: each broadcasts to the shape of the groups.
pub(crate) struct Normal {
    pub mean: Tensor,
    /// `1 / sqrt(variance + epsilon)`.
    pub inverse: Tensor,
    pub gamma: Tensor,
}

impl Groups {
    /// The tensor as float32 in the groups' shape.
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.to_dtype(DType::F32)?.reshape(self.shape.as_slice())
    }

    /// Scale or bias, one for each channel or one for each group, so that it broadcasts to the shape.
    pub fn parameter(&self, parameter: &Tensor) -> Result<Tensor> {
        let [_, groups, channels, _] = self.shape;
        let channels = if parameter.elem_count() == groups { 1 } else { channels };
        parameter.contiguous()?.to_dtype(DType::F32)?.reshape((1, groups, channels, 1))
    }

    fn mean(&self, x: &Tensor) -> Result<Tensor> {
        let count: usize = self.axes.iter().map(|axis| self.shape[*axis]).product();
        x.sum_keepdim(self.axes)? / count.max(1) as f64
    }
}

/// Mean and variance (the mean of squared distances) of each group, of [`Groups::of`] a tensor.
pub(crate) fn statistics(x: &Tensor, groups: &Groups) -> Result<(Tensor, Tensor)> {
    let mean = groups.mean(x)?;
    let variance = groups.mean(&x.broadcast_sub(&mean)?.sqr()?)?;
    Ok((mean, variance))
}

/// `1 / sqrt(variance + epsilon)`.
pub(crate) fn inverse(variance: &Tensor, epsilon: f32) -> Result<Tensor> {
    (variance + f64::from(epsilon))?.sqrt()?.recip()
}

/// `(x - mean) * inverse * gamma + beta`.
pub(crate) fn forward(x: &Tensor, normal: &Normal, beta: &Tensor) -> Result<Tensor> {
    let scale = normal.inverse.broadcast_mul(&normal.gamma)?;
    x.broadcast_sub(&normal.mean)?.broadcast_mul(&scale)?.broadcast_add(beta)
}

/// Gradients of `x`, gamma and beta. Where mean and variance are `constant` they do not depend on `x`.
pub(crate) fn backward(
    x: &Tensor,
    gradient: &Tensor,
    normal: &Normal,
    constant: bool,
    groups: &Groups,
) -> Result<[Tensor; 3]> {
    let Normal { mean, inverse, gamma } = normal;
    let normalized = x.broadcast_sub(mean)?.broadcast_mul(inverse)?;
    let scaled = gradient.broadcast_mul(gamma)?;
    let centred = match constant {
        true => scaled,
        false => {
            let along = normalized.broadcast_mul(&groups.mean(&(&scaled * &normalized)?)?)?;
            (scaled.broadcast_sub(&groups.mean(&scaled)?)? - along)?
        }
    };
    // A scale that a group shares is summed over its channels too.
    let shared = gamma.dim(2)? != groups.shape[2];
    let axes: &[usize] = if shared { &[0, 2, 3] } else { &[0, 3] };
    Ok([
        centred.broadcast_mul(inverse)?,
        (gradient * &normalized)?.sum_keepdim(axes)?,
        gradient.sum_keepdim(axes)?,
    ])
}
