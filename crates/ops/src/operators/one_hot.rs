//! `OneHot(indices, depth, [off, on])`: a new axis of `depth` entries that are `on` at the index, else
//! `off`; an index outside of -depth..depth is `off` everywhere.

use crate::shapes::{self, shaped};
use crate::{Backward, Element, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::Tensor;
use refit_graph::{Dim, Fact, OpName};

pub(crate) struct OneHot;

impl Operator for OneHot {
    fn name(&self) -> OpName {
        OpName::standard("OneHot")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(2);
        let Some(mut shape) = inputs.fact(0).shape else { return Ok(vec![shapes::of_type(dtype)]) };
        let along = shapes::axis(site, site.node.int("axis").unwrap_or(-1), shape.len() + 1)?;
        let depth = inputs.elements(1).and_then(|elements| elements.first().map(Element::dim));
        shape.insert(along, depth.unwrap_or(Dim::Unknown));
        Ok(vec![shaped(dtype, Some(shape))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let values = site.required(inputs, 2)?;
        if values.elem_count() != 2 {
            return Err(site.refuse("the values must be two: off and on"));
        }
        let hot = hot(site, inputs)?;
        let value = |index| values.flatten_all()?.get(index)?.broadcast_as(hot.dims());
        Ok(vec![hot.where_cond(&value(1)?, &value(0)?)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[0, 1]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 2
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?.contiguous()?;
        let hot = hot(site, back.inputs)?;
        let zeros = gradient.zeros_like()?;
        let off = hot.where_cond(&zeros, &gradient)?.sum_all()?;
        let on = hot.where_cond(&gradient, &zeros)?.sum_all()?;
        Ok(vec![None, None, Some(Tensor::stack(&[off, on], 0)?)])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("the last axis").integers(&[2, 2], &[0, 2, -1, 5]).integers(&[], &[3]).random(&[2]),
            Problem::new("the first axis")
                .integers(&[3], &[1, 1, 0])
                .integers(&[], &[2])
                .random(&[2])
                .int("axis", 0),
        ]
    }
}

/// 1 where an entry is on.
fn hot(site: &Site, inputs: &[Option<Tensor>]) -> Result<Tensor, OpError> {
    let indices = site.required(inputs, 0)?;
    let depth = host::integers(site.required(inputs, 1)?)?.first().copied().unwrap_or(0);
    let depth = usize::try_from(depth).map_err(|_| site.refuse(format!("a depth cannot be {depth}")))?;
    let along = shapes::axis(site, site.node.int("axis").unwrap_or(-1), indices.rank() + 1)?;
    let inner: usize = indices.dims()[along..].iter().product();
    let mut shape = indices.dims().to_vec();
    shape.insert(along, depth);
    let mut hot = vec![0u8; indices.elem_count() * depth];
    for (place, index) in host::integers(indices)?.into_iter().enumerate() {
        let at = if index < 0 { index.saturating_add(depth as i64) } else { index };
        if (0..depth as i64).contains(&at) {
            hot[(place / inner * depth + at as usize) * inner + place % inner] = 1;
        }
    }
    Ok(Tensor::from_vec(hot, shape, site.device)?)
}
