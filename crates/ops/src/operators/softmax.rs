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
        let y = along_rows(site, x, |rows| match self {
            Self::Softmax => softmax(rows),
            Self::LogSoftmax => {
                let shifted = rows.broadcast_sub(&rows.max_keepdim(D::Minus1)?)?;
                let sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
                Ok(shifted.broadcast_sub(&sum)?)
            }
        })?;
        Ok(vec![y])
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
        let both = Tensor::stack(&[y, gradient], 0)?;
        let dx = along_rows_of_pairs(site, &both, |y, g| match self {
            Self::Softmax => softmax_backward(y, g),
            Self::LogSoftmax => {
                let sum = g.sum_keepdim(D::Minus1)?;
                Ok((g - y.exp()?.broadcast_mul(&sum)?)?)
            }
        })?;
        Ok(vec![Some(dx)])
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

/// Calls `f` with rows that each have to be normalized, and brings the result back into shape.
fn along_rows(
    site: &Site,
    x: &Tensor,
    f: impl FnOnce(&Tensor) -> Result<Tensor, OpError>,
) -> Result<Tensor, OpError> {
    let rank = x.rank();
    let along =
        axis(site, site.node.int("axis").unwrap_or(if site.opset < 13 { 1 } else { -1 }), rank.max(1))?;
    if rank == 0 {
        return Ok(f(&x.reshape((1, 1))?)?.reshape(())?);
    }
    if site.opset < 13 {
        let columns: usize = x.dims()[along..].iter().product();
        let rows = x.elem_count() / columns.max(1);
        return Ok(f(&x.reshape((rows, columns))?)?.reshape(x.dims())?);
    }
    if along + 1 == rank {
        return f(&x.contiguous()?);
    }
    Ok(f(&x.transpose(along, rank - 1)?.contiguous()?)?.transpose(along, rank - 1)?.contiguous()?)
}

/// [`along_rows`] for two tensors of one shape.
fn along_rows_of_pairs(
    site: &Site,
    both: &Tensor,
    f: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor, OpError>,
) -> Result<Tensor, OpError> {
    let mut first = None;
    along_rows(site, &both.get(0)?, |rows| {
        first = Some(rows.clone());
        Ok(rows.clone())
    })?;
    let first = first.ok_or_else(|| site.refuse("there are no rows"))?;
    along_rows(site, &both.get(1)?, |second| f(&first, second))
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
