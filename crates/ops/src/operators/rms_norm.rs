//! `RMSNormalization(x, scale)` (Zhang and Sennrich 2019): `x / sqrt(mean(x^2) + epsilon) * scale` over
//! everything from `axis` on. `refit.RmsNorm(x, scale)` is the same over the last axis. Over that axis, with a
//! scale for each of its elements, both have a kernel on the CPU.

use crate::kernels::{self, slices};
use crate::shapes::{axis, broadcast_to, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{DType, Tensor};
use refit_graph::{Fact, OpName};

/// Whose operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RmsNorm {
    Refit,
    Standard,
}

impl Operator for RmsNorm {
    fn name(&self) -> OpName {
        match self {
            Self::Refit => OpName::refit("RmsNorm"),
            Self::Standard => OpName::standard("RMSNormalization"),
        }
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        if let Some(rank) = x.rank() {
            first_axis(site, rank)?;
        }
        Ok(vec![Fact { elements: None, ..x }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, scale) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        if is_kernel(site, x, scale)? {
            let x = x.contiguous()?;
            let y = slices::with(&x, |x| {
                slices::with(scale, |scale| kernels::rms_norm::forward(x, scale, epsilon(site)))
            })??;
            return Ok(vec![Tensor::from_vec(y, x.dims(), x.device())?]);
        }
        let (wide, inverse) = inverse(site, x)?;
        let normal = wide.broadcast_mul(&inverse)?.to_dtype(x.dtype())?;
        let y = normal.broadcast_mul(scale)?;
        if y.dims() != x.dims() {
            return Err(site.refuse(format!("a scale of {:?} does not fit {:?}", scale.dims(), x.dims())));
        }
        Ok(vec![y])
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    /// With `r` the inverse root and `s = g * scale`: `r * (s - x * r^2 * mean(s * x))`.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let (x, scale) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        if is_kernel(site, x, scale)? && slices::is_cpu_f32(gradient) {
            let (x, gradient) = (x.contiguous()?, gradient.contiguous()?);
            let backward = |x: &[f32], scale: &[f32], gradient: &[f32]| {
                kernels::rms_norm::backward(x, scale, gradient, epsilon(site))
            };
            let (dx, dscale) = slices::with(&x, |x| {
                slices::with(scale, |scale| slices::with(&gradient, |gradient| backward(x, scale, gradient)))
            })???;
            let dscale = Tensor::from_vec(dscale, scale.dims(), x.device())?;
            return Ok(vec![Some(Tensor::from_vec(dx, x.dims(), x.device())?), Some(dscale)]);
        }
        let (wide, inverse) = inverse(site, x)?;
        let g = gradient.to_dtype(DType::F32)?;
        let scaled = (&g * broadcast_to(&scale.to_dtype(DType::F32)?, x.dims())?)?;
        let normal = wide.broadcast_mul(&inverse)?;
        let dx = if back.wants(0) {
            let along = mean(site, &(&scaled * &normal)?)?;
            let dx = (&scaled - normal.broadcast_mul(&along)?)?.broadcast_mul(&inverse)?;
            Some(dx.to_dtype(x.dtype())?)
        } else {
            None
        };
        let dscale = if back.wants(1) {
            Some(sum_to(&(g * normal)?, &back.input_shapes[1])?.to_dtype(scale.dtype())?)
        } else {
            None
        };
        Ok(vec![dx, dscale])
    }

    fn problems(&self) -> Vec<Problem> {
        if *self == Self::Refit {
            return vec![
                Problem::new("odd width").random(&[2, 3, 19]).random(&[19]).float("epsilon", 1e-3),
                Problem::new("an empty batch").random(&[0, 5]).random(&[5]),
            ];
        }
        vec![
            Problem::new("odd width").random(&[2, 3, 19]).random(&[19]).float("epsilon", 1e-3),
            Problem::new("two axes").random(&[3, 4, 5]).random(&[4, 5]).int("axis", 1),
            Problem::new("a scale that repeats").random(&[3, 4, 5]).random(&[1]).int("axis", -2),
            Problem::new("an empty batch").random(&[0, 5]).random(&[5]),
        ]
    }
}

fn epsilon(site: &Site) -> f32 {
    site.node.float("epsilon").unwrap_or(1e-5)
}

/// Whether the kernel can take these: the last axis, and one scale for each of its elements.
fn is_kernel(site: &Site, x: &Tensor, scale: &Tensor) -> Result<bool, OpError> {
    let last = first_axis(site, x.rank())? + 1 == x.rank();
    let fits = last && scale.dims() == [x.dims()[x.rank() - 1]] && scale.is_contiguous();
    Ok(fits && slices::is_cpu_f32(x) && slices::is_cpu_f32(scale) && scale.elem_count() > 0)
}

fn first_axis(site: &Site, rank: usize) -> Result<usize, OpError> {
    axis(site, site.node.int("axis").unwrap_or(-1), rank)
}

/// Means over the normalized axes, which stay with size 1.
fn mean(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    let axes: Vec<usize> = (first_axis(site, x.rank())?..x.rank()).collect();
    let count: usize = axes.iter().map(|axis| x.dims()[*axis]).product();
    Ok((x.sum_keepdim(axes)? / count.max(1) as f64)?)
}

/// `x` as float32, and one over the root of its mean square.
fn inverse(site: &Site, x: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    let x = x.to_dtype(DType::F32)?;
    let inverse = (mean(site, &x.sqr()?)? + f64::from(epsilon(site)))?.sqrt()?.recip()?;
    Ok((x, inverse))
}
