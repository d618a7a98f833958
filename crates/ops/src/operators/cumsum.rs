//! `CumSum(x, axis)`: running sums, `exclusive` of the element itself and in `reverse` if asked.

use crate::shapes::{axis, integers};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{DType, Tensor};
use refit_graph::{Fact, OpName};

pub(crate) struct CumSum;

impl Operator for CumSum {
    fn name(&self) -> OpName {
        OpName::standard("CumSum")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let reverse = site.node.int("reverse").unwrap_or(0) != 0;
        Ok(vec![running_sum(site, x, inputs, reverse)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[1])
    }

    /// The same sum in the other direction.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let reverse = site.node.int("reverse").unwrap_or(0) == 0;
        Ok(vec![Some(running_sum(site, gradient, back.inputs, reverse)?), None])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("plain").random(&[2, 4]).integers(&[], &[1]),
            Problem::new("exclusive and reversed")
                .random(&[3, 2])
                .integers(&[], &[0])
                .int("exclusive", 1)
                .int("reverse", 1),
        ]
    }
}

/// A product with a triangle of ones: exact for integers below 2^53, and on any device.
fn running_sum(site: &Site, x: &Tensor, inputs: &[Option<Tensor>], reverse: bool) -> Result<Tensor, OpError> {
    let numbers = integers(site, site.required(inputs, 1)?)?;
    let along = axis(site, numbers.first().copied().unwrap_or(0), x.rank())?;
    let exclusive = site.node.int("exclusive").unwrap_or(0) != 0;
    let (size, dtype) = (x.dims()[along], if x.dtype().is_float() { x.dtype() } else { DType::F64 });
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let positions = Tensor::arange(0u32, size as u32, x.device())?;
    let (from, to) = (positions.reshape((size, 1))?, positions.reshape((1, size))?);
    let counts = match (reverse, exclusive) {
        (false, false) => from.broadcast_le(&to)?,
        (false, true) => from.broadcast_lt(&to)?,
        (true, false) => from.broadcast_ge(&to)?,
        (true, true) => from.broadcast_gt(&to)?,
    };
    let last = x.rank() - 1;
    let rows = x.to_dtype(dtype)?.transpose(along, last)?.contiguous()?;
    let sums = rows.reshape(((), size))?.matmul(&counts.to_dtype(dtype)?)?.reshape(rows.dims())?;
    Ok(sums.transpose(along, last)?.contiguous()?.to_dtype(x.dtype())?)
}
