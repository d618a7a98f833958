//! `Softmax` and `LogSoftmax` along an axis; before opset 13 over everything from the axis on.

use crate::kernels::{self, slices};
use crate::shapes::axis;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{D, Tensor};
use refit_graph::{Fact, OpName};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the standard's own names")]
pub(crate) enum Softmax {
    Softmax,
    LogSoftmax,
}

impl Operator for Softmax {
    fn name(&self) -> OpName {
        OpName::standard(if *self == Self::Softmax { "Softmax" } else { "LogSoftmax" })
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        if x.elem_count() == 0 {
            return Ok(vec![x.clone()]);
        }
        let rows = to_rows(site, x)?;
        let y = match self {
            Self::Softmax => softmax(&rows)?,
            Self::LogSoftmax => {
                let shifted = rows.broadcast_sub(&rows.max_keepdim(D::Minus1)?)?;
                let sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
                shifted.broadcast_sub(&sum)?
            }
        };
        Ok(vec![from_rows(site, &y, x.dims())?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::output()
    }

    /// Softmax: `y * (g - sum(y * g))`; log-softmax: `g - exp(y) * sum(g)`.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, y) = (site.required(back.gradients, 0)?, site.required(back.outputs, 0)?);
        if y.elem_count() == 0 {
            return Ok(vec![Some(gradient.clone())]);
        }
        let (rows, g) = (to_rows(site, y)?, to_rows(site, gradient)?);
        let dx = match self {
            Self::Softmax => softmax_backward(&rows, &g)?,
            Self::LogSoftmax => {
                let sum = g.sum_keepdim(D::Minus1)?;
                (g - rows.exp()?.broadcast_mul(&sum)?)?
            }
        };
        Ok(vec![Some(from_rows(site, &dx, y.dims())?)])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("the last axis").random(&[3, 17]),
            Problem::new("another axis").random(&[2, 3, 4]).int("axis", 1),
            Problem::new("flattened").random(&[2, 3, 4]).int("axis", 1).opset(11),
            Problem::new("an empty batch").random(&[0, 3]),
        ]
    }
}

fn along(site: &Site, rank: usize) -> Result<usize, OpError> {
    axis(site, site.node.int("axis").unwrap_or(if site.opset < 13 { 1 } else { -1 }), rank.max(1))
}

/// `x` as [rows, columns], where each row has to be normalized.
fn to_rows(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    let (rank, along) = (x.rank(), along(site, x.rank())?);
    if rank == 0 {
        return Ok(x.reshape((1, 1))?);
    }
    if site.opset < 13 {
        let columns: usize = x.dims()[along..].iter().product();
        return Ok(x.reshape((x.elem_count() / columns.max(1), columns))?);
    }
    let last = x.transpose(along, rank - 1)?.contiguous()?;
    Ok(last.reshape(((), x.dims()[along]))?)
}

/// The inverse of [`to_rows`].
fn from_rows(site: &Site, rows: &Tensor, shape: &[usize]) -> Result<Tensor, OpError> {
    let (rank, along) = (shape.len(), along(site, shape.len())?);
    if rank == 0 || site.opset < 13 {
        return Ok(rows.reshape(shape)?);
    }
    let mut swapped = shape.to_vec();
    swapped.swap(along, rank - 1);
    Ok(rows.reshape(swapped)?.transpose(along, rank - 1)?.contiguous()?)
}

fn softmax(rows: &Tensor) -> Result<Tensor, OpError> {
    let columns = rows.dims()[rows.rank() - 1];
    if slices::is_cpu_f32(rows) {
        let rows = rows.contiguous()?;
        let y = slices::with(&rows, |x| kernels::softmax::forward(x, columns))?;
        return Ok(Tensor::from_vec(y, rows.dims(), rows.device())?);
    }
    let exp = rows.broadcast_sub(&rows.max_keepdim(D::Minus1)?)?.exp()?;
    Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
}

fn softmax_backward(y: &Tensor, gradient: &Tensor) -> Result<Tensor, OpError> {
    let columns = y.dims()[y.rank() - 1];
    if slices::is_cpu_f32(y) && slices::is_cpu_f32(gradient) {
        let (y, gradient) = (y.contiguous()?, gradient.contiguous()?);
        let dx =
            slices::with(&y, |y| slices::with(&gradient, |g| kernels::softmax::backward(y, g, columns)))??;
        return Ok(Tensor::from_vec(dx, y.dims(), y.device())?);
    }
    let along = (y * gradient)?.sum_keepdim(D::Minus1)?;
    Ok((y * gradient.broadcast_sub(&along)?)?)
}
