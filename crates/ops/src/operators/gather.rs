//! `Gather(data, indices)`: slices of `data` along `axis`; negative indices count from the end. With
//! axis 0 this is an embedding table, whose gradient adds up rows.

use crate::kernels::{rows, slices};
use crate::shapes::{self, axis, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, RowGradient, Site};
use candle_core::{DType, Device, Tensor};
use refit_graph::{Dim, Fact, OpName};

pub(crate) struct Gather;

impl Operator for Gather {
    fn name(&self) -> OpName {
        OpName::standard("Gather")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let data = inputs.fact(0);
        let indices = inputs.fact(1);
        let (Some(shape), Some(picked)) = (&data.shape, &indices.shape) else {
            return Ok(vec![shapes::of_type(data.dtype)]);
        };
        let along = axis(site, site.node.int("axis").unwrap_or(0), shape.len())?;
        let mut dims = shape.clone();
        dims.splice(along..=along, picked.iter().cloned());
        let elements = match (&data.elements, inputs.integers(1)) {
            (Some(all), Some(numbers)) if dims.len() <= 1 => {
                Some(numbers.iter().map(|n| Ok(all[axis(site, *n, all.len())?].clone())).collect::<Result<
                    Vec<Dim>,
                    OpError,
                >>(
                )?)
            }
            _ => None,
        };
        Ok(vec![Fact { dtype: data.dtype, shape: Some(dims), elements }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (data, indices) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let along = axis(site, site.node.int("axis").unwrap_or(0), data.rank())?;
        let mut shape = data.dims().to_vec();
        shape.splice(along..=along, indices.dims().iter().copied());
        let positions = positions(site, indices, data.dims()[along])?;
        if along == 0 && slices::is_cpu_f32(data) {
            let data = data.contiguous()?;
            let width = data.dims()[1..].iter().product();
            let picked = slices::with(&data, |table| rows::gather(table, width, &positions))?;
            return Ok(vec![Tensor::from_vec(picked, shape, data.device())?]);
        }
        if positions.is_empty() || data.elem_count() == 0 {
            return Ok(vec![Tensor::zeros(shape, data.dtype(), data.device())?]);
        }
        let flat = on_device(&positions, data.device())?;
        Ok(vec![data.contiguous()?.index_select(&flat, along)?.reshape(shape)?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[1])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, indices) = (site.required(back.gradients, 0)?, site.required(back.inputs, 1)?);
        let shape = back.input_shapes[0].as_slice();
        let along = axis(site, site.node.int("axis").unwrap_or(0), shape.len())?;
        let positions = positions(site, indices, shape[along])?;
        let gradient = gradient.contiguous()?;
        if along == 0 && slices::is_cpu_f32(&gradient) {
            let width = shape[1..].iter().product();
            let table = slices::with(&gradient, |g| rows::scatter_add(g, width, &positions, shape[0]))?;
            return Ok(vec![Some(Tensor::from_vec(table, shape, gradient.device())?), None]);
        }
        let zeros = Tensor::zeros(shape, gradient.dtype(), gradient.device())?;
        if gradient.elem_count() == 0 {
            return Ok(vec![Some(zeros), None]);
        }
        let mut flat = shape.to_vec();
        flat[along] = positions.len();
        let indices = on_device(&positions, gradient.device())?;
        Ok(vec![Some(zeros.index_add(&indices, &gradient.reshape(flat)?, along)?), None])
    }

    fn picks_rows(&self, site: &Site) -> bool {
        site.node.int("axis").unwrap_or(0) == 0
    }

    fn row_vjp(&self, site: &Site, back: &Backward) -> Result<RowGradient, OpError> {
        let (gradient, indices) = (site.required(back.gradients, 0)?, site.required(back.inputs, 1)?);
        let shape = back.input_shapes[0].as_slice();
        let positions = positions(site, indices, shape[0])?;
        Ok(RowGradient::new(gradient, &positions, shape)?)
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("rows, one twice").random(&[5, 3]).integers(&[2, 2], &[0, 4, 0, -1]),
            Problem::new("another axis").random(&[2, 5, 3]).integers(&[3], &[1, 1, 4]).int("axis", 1),
            Problem::new("one index").random(&[5, 3]).integers(&[], &[2]),
            Problem::new("no indices").random(&[5, 3]).integers(&[0], &[]),
        ]
    }
}

/// Indices counted from the front, all inside `size`.
fn positions(site: &Site, indices: &Tensor, size: usize) -> Result<Vec<usize>, OpError> {
    let indices: Vec<i64> =
        indices.to_device(&Device::Cpu)?.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
    indices
        .into_iter()
        .map(|index| {
            let shifted = if index < 0 { index.saturating_add(size as i64) } else { index };
            usize::try_from(shifted)
                .ok()
                .filter(|position| *position < size)
                .ok_or_else(|| site.refuse(format!("index {index} lies outside {size} entries")))
        })
        .collect()
}

fn on_device(positions: &[usize], device: &Device) -> Result<Tensor, OpError> {
    let positions: Vec<u32> = positions.iter().map(|p| *p as u32).collect();
    Ok(Tensor::new(positions, device)?)
}

/// `GatherElements(data, indices)`: one element for each index, along `axis`.
pub(crate) struct GatherElements;

impl Operator for GatherElements {
    fn name(&self) -> OpName {
        OpName::standard("GatherElements")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![shaped(inputs.dtype(0), inputs.fact(1).shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (data, indices) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let along = axis(site, site.node.int("axis").unwrap_or(0), data.rank())?;
        if indices.rank() != data.rank() {
            return Err(site.refuse("data and indices differ in rank"));
        }
        let fits = data.dims().iter().zip(indices.dims()).enumerate();
        if fits.into_iter().any(|(axis, (data, index))| axis != along && index > data) {
            return Err(site.refuse("the indices are larger than the data"));
        }
        let positions = positions(site, indices, data.dims()[along])?;
        let positions = on_device(&positions, data.device())?.reshape(indices.dims())?;
        Ok(vec![data.contiguous()?.gather(&positions, along)?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[1])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, indices) = (site.required(back.gradients, 0)?, site.required(back.inputs, 1)?);
        let shape = back.input_shapes[0].as_slice();
        let along = axis(site, site.node.int("axis").unwrap_or(0), shape.len())?;
        let positions = positions(site, indices, shape[along])?;
        let positions = on_device(&positions, gradient.device())?.reshape(indices.dims())?;
        let zeros = Tensor::zeros(shape, gradient.dtype(), gradient.device())?;
        Ok(vec![Some(zeros.scatter_add(&positions, &gradient.contiguous()?, along)?), None])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("an element twice").random(&[3, 2]).integers(&[2, 2], &[0, -1, 0, 1]).int("axis", 0),
            Problem::new("the last axis")
                .random(&[2, 4])
                .integers(&[2, 3], &[3, 0, 0, 1, 2, 1])
                .int("axis", 1),
        ]
    }
}
