//! `GlobalAveragePool`, `GlobalMaxPool` and `GlobalLpPool`: one number for each image and channel. Of
//! equal largest elements the first one has the gradient, as in PyTorch.

use super::arg;
use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Dim, Fact, OpName};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GlobalPool {
    Average,
    Max,
    Lp,
}

impl Operator for GlobalPool {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::Average => "GlobalAveragePool",
            Self::Max => "GlobalMaxPool",
            Self::Lp => "GlobalLpPool",
        })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let one = |(axis, dim): (usize, Dim)| if axis < 2 { dim } else { Dim::Known(1) };
        let shape = match x.shape {
            Some(dims) if dims.len() < 3 => return Err(site.refuse("there is no space to pool over")),
            Some(dims) => Some(dims.into_iter().enumerate().map(one).collect()),
            None => None,
        };
        Ok(vec![shaped(x.dtype, shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let (planes, length) = flat(site, x.dims())?;
        let mut shape = x.dims().to_vec();
        shape[2..].fill(1);
        let x = x.contiguous()?.reshape((planes, length))?;
        let y = match self {
            Self::Average => (x.sum_keepdim(1)? / length as f64)?,
            Self::Lp => x.abs()?.powf(power(site))?.sum_keepdim(1)?.powf(1.0 / power(site))?,
            Self::Max if planes == 0 => x.narrow(1, 0, 1)?,
            Self::Max => x.max_keepdim(1)?,
        };
        Ok(vec![y.reshape(shape)?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        match self {
            Self::Average => Reads::nothing(),
            Self::Max => Reads::inputs(&[0]),
            Self::Lp => Some(Reads { inputs: vec![0], outputs: vec![0] }),
        }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let shape = back.input_shapes[0].as_slice();
        let (planes, length) = flat(site, shape)?;
        let spread = gradient.reshape((planes, 1))?.broadcast_as((planes, length))?;
        let dx = match self {
            Self::Average => (spread / length as f64)?,
            Self::Max => {
                let x = site.required(back.inputs, 0)?.contiguous()?.reshape((planes, length))?;
                if planes == 0 {
                    return Ok(vec![Some(gradient.zeros_like()?.broadcast_as(shape)?.contiguous()?)]);
                }
                let places = Tensor::arange(0u32, length as u32, x.device())?.reshape((1, length))?;
                // candle's argmax takes any of equal elements on CUDA.
                let first = arg::first_hit(&x.broadcast_eq(&x.max_keepdim(1)?)?, 1, false)?;
                let hits = places.broadcast_eq(&first)?.to_dtype(gradient.dtype())?;
                (spread * hits)?
            }
            // `sign(x) |x|^(p - 1) y^(1 - p)`, and 0 for a plane of zeros, as in PyTorch.
            Self::Lp => {
                let x = site.required(back.inputs, 0)?.contiguous()?.reshape((planes, length))?;
                let y = site.required(back.outputs, 0)?.reshape((planes, 1))?;
                let rest = power(site) - 1.0;
                let rise = (x.sign()? * x.abs()?.powf(rest)?)?;
                let zero = y.eq(0f64)?.to_dtype(y.dtype())?;
                let fall = ((&y + &zero)?.powf(-rest)? * (1.0 - zero)?)?;
                (spread * rise.broadcast_mul(&fall)?)?
            }
        };
        Ok(vec![Some(dx.reshape(shape)?)])
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = vec![
            Problem::new("two dimensions").random(&[2, 3, 4, 5]),
            Problem::new("one dimension").random(&[2, 3, 7]),
            Problem::new("an empty batch").random(&[0, 3, 2, 2]),
        ];
        if *self == Self::Lp {
            problems.push(Problem::new("the third power").random(&[2, 2, 5]).int("p", 3));
        }
        problems
    }
}

fn power(site: &Site) -> f64 {
    site.node.int("p").unwrap_or(2) as f64
}

/// Planes and the elements of each.
fn flat(site: &Site, shape: &[usize]) -> Result<(usize, usize), OpError> {
    match shape {
        [batch, channels, space @ ..] if !space.is_empty() && !space.contains(&0) => {
            Ok((batch * channels, space.iter().product()))
        }
        _ => Err(site.refuse("there is no space to pool over")),
    }
}
