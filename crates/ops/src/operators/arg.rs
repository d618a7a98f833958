//! `ArgMax`, `ArgMin` and `Hardmax`: where the extreme elements lie. Nothing is differentiated through a
//! position.

use crate::kernels::slices;
use crate::shapes::{self, axis, shaped};
use crate::{Known, OpError, Operator, Problem, Site, host};
use candle_core::{DType as Storage, Device, Tensor};
use refit_graph::{DType, Dim, Fact, OpName};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arg {
    Max,
    Min,
}

impl Operator for Arg {
    fn name(&self) -> OpName {
        OpName::standard(if *self == Self::Max { "ArgMax" } else { "ArgMin" })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let Some(mut shape) = inputs.fact(0).shape else {
            return Ok(vec![shapes::of_type(Some(DType::I64))]);
        };
        let along = axis(site, site.node.int("axis").unwrap_or(0), shape.len())?;
        match keeps(site) {
            true => shape[along] = Dim::Known(1),
            false => drop(shape.remove(along)),
        }
        Ok(vec![shaped(Some(DType::I64), Some(shape))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let along = axis(site, site.node.int("axis").unwrap_or(0), x.rank())?;
        let last = site.node.int("select_last_index").unwrap_or(0) != 0;
        let mut shape = x.dims().to_vec();
        if shape[along] == 0 {
            return Err(site.refuse("an empty dimension has no largest or smallest element"));
        }
        match keeps(site) {
            true => shape[along] = 1,
            false => drop(shape.remove(along)),
        }
        if compares_on_device(x) {
            let positions = on_device(x, along, *self == Self::Max, last)?;
            return Ok(vec![positions.to_dtype(Storage::I64)?.reshape(shape)?]);
        }
        let positions = positions(x, along, *self == Self::Max, last)?;
        let positions: Vec<i64> = positions.into_iter().map(|p| p as i64).collect();
        Ok(vec![Tensor::from_vec(positions, shape, x.device())?])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }

    fn problems(&self) -> Vec<Problem> {
        let ties = [2.0, -1.0, 2.0, 0.5, -1.0, 0.5, 3.0, 3.0, -2.0, -2.0, 0.0, 0.0];
        let x = |what| Problem::new(what).floats(&[2, 3, 2], &ties);
        vec![
            x("the first of equal ones").int("axis", 1),
            x("the last of equal ones").int("axis", 1).int("select_last_index", 1),
            x("dropped").int("axis", -1).int("keepdims", 0),
            Problem::new("integers").integers(&[2, 3], &[4, 4, -7, 0, 9, 9]).int("axis", 1),
        ]
    }
}

/// Whether candle has comparisons and reductions of the elements' type where they lie.
pub(super) fn compares_on_device(x: &Tensor) -> bool {
    !slices::is_cpu(x) && x.elem_count() > 0 && !matches!(x.dtype(), Storage::I16 | Storage::I32)
}

/// What [`positions`] finds, uint32 with one element along the axis. candle's own position of an extreme
/// element does not say which of equal ones it is.
fn on_device(x: &Tensor, along: usize, largest: bool, last: bool) -> Result<Tensor, OpError> {
    let best = if largest { x.max_keepdim(along)? } else { x.min_keepdim(along)? };
    first_hit(&x.broadcast_eq(&best)?, along, last)
}

/// The position of the first or last of the elements along an axis that are not 0, uint32. Where there is none
/// (nothing equals what is not a number) it is a position all the same.
pub(super) fn first_hit(hits: &Tensor, along: usize, last: bool) -> Result<Tensor, OpError> {
    let size = hits.dims()[along] as u32;
    let mut shape = vec![1; hits.rank()];
    shape[along] = hits.dims()[along];
    let places = Tensor::arange(0, size, hits.device())?.reshape(shape)?.broadcast_as(hits.shape())?;
    let none = Tensor::new(&[if last { 0 } else { size - 1 }], hits.device())?.broadcast_as(hits.shape())?;
    let places = hits.where_cond(&places, &none)?;
    Ok(if last { places.max_keepdim(along)? } else { places.min_keepdim(along)? })
}

fn keeps(site: &Site) -> bool {
    site.node.int("keepdims").unwrap_or(1) != 0
}

/// The position of the extreme element along an axis, for each place in the other dimensions.
fn positions(x: &Tensor, along: usize, largest: bool, last: bool) -> Result<Vec<usize>, OpError> {
    let numbers = host::numbers(x)?;
    let (size, inner) = (x.dims()[along], x.dims()[along + 1..].iter().product::<usize>());
    let outer: usize = x.dims()[..along].iter().product();
    let mut found = Vec::with_capacity(outer * inner);
    for start in (0..outer).flat_map(|o| (0..inner).map(move |i| o * size * inner + i)) {
        let at = |index: usize| numbers[start + index * inner];
        let mut best = 0;
        for index in 1..size {
            let better = if largest { at(index) > at(best) } else { at(index) < at(best) };
            if better || (last && at(index) == at(best)) {
                best = index;
            }
        }
        found.push(best);
    }
    Ok(found)
}

/// `Hardmax(x)`: 1 at the first largest element along an axis, else 0; before opset 13 over everything
/// from the axis on.
pub(crate) struct Hardmax;

impl Operator for Hardmax {
    fn name(&self) -> OpName {
        OpName::standard("Hardmax")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        if x.elem_count() == 0 {
            return Ok(vec![x.clone()]);
        }
        let old = site.opset < 13;
        let along = axis(site, site.node.int("axis").unwrap_or(if old { 1 } else { -1 }), x.rank())?;
        let (size, inner) = match old {
            true => (x.dims()[along..].iter().product(), 1),
            false => (x.dims()[along], x.dims()[along + 1..].iter().product::<usize>()),
        };
        let rows = x.contiguous()?.reshape((x.elem_count() / (size * inner), size, inner))?;
        if compares_on_device(x) {
            let places = Tensor::arange(0, size as u32, x.device())?.reshape((1, size, 1))?;
            let hits = places.broadcast_eq(&on_device(&rows, 1, true, false)?)?;
            return Ok(vec![hits.to_dtype(x.dtype())?.reshape(x.dims())?]);
        }
        let mut y = vec![0f32; x.elem_count()];
        for (place, best) in positions(&rows, 1, true, false)?.into_iter().enumerate() {
            y[place / inner * size * inner + best * inner + place % inner] = 1.0;
        }
        let y = Tensor::from_vec(y, x.dims(), &Device::Cpu)?.to_dtype(Storage::F32)?;
        Ok(vec![y.to_dtype(x.dtype())?.to_device(x.device())?])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }

    fn problems(&self) -> Vec<Problem> {
        let ties = [2.0, -1.0, 2.0, 0.5, -1.0, 0.5, 3.0, 3.0, -2.0, -2.0, 0.0, 0.0];
        let x = |what| Problem::new(what).floats(&[2, 3, 2], &ties);
        vec![x("an axis").int("axis", 1), x("everything from an axis on").int("axis", 1).opset(11)]
    }
}
