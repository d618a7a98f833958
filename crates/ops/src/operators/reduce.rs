//! Reductions over axes: an attribute, from opset 18 on (`ReduceSum`: 13) an input.

use crate::picks::strides;
use crate::shapes::{self, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{DType as Storage, Device, Tensor};
use refit_graph::{Dim, Fact, OpName};

/// How elements are reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    SumSquare,
    L1,
    L2,
    LogSum,
    LogSumExp,
    Prod,
}

impl Operator for Reduce {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::Sum => "ReduceSum",
            Self::Mean => "ReduceMean",
            Self::Max => "ReduceMax",
            Self::Min => "ReduceMin",
            Self::SumSquare => "ReduceSumSquare",
            Self::L1 => "ReduceL1",
            Self::L2 => "ReduceL2",
            Self::LogSum => "ReduceLogSum",
            Self::LogSumExp => "ReduceLogSumExp",
            Self::Prod => "ReduceProd",
        })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let known = !inputs.has(1) || inputs.integers(1).is_some();
        let Some(dims) = x.shape.filter(|_| known) else { return Ok(vec![shapes::of_type(x.dtype)]) };
        let axes = reduced_axes(site, inputs.integers(1), dims.len())?;
        let shape = dims.into_iter().enumerate().filter_map(|(axis, dim)| match axes.contains(&axis) {
            false => Some(dim),
            true if keeps(site) => Some(Dim::Known(1)),
            true => None,
        });
        Ok(vec![shaped(x.dtype, Some(shape.collect()))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let axes = reduced_axes(site, given(site, inputs)?, x.rank())?;
        let reduced = self.keeping_dims(site, x, &axes)?;
        let shape: Vec<usize> = x
            .dims()
            .iter()
            .enumerate()
            .filter_map(|(axis, size)| match axes.contains(&axis) {
                false => Some(*size),
                true if keeps(site) => Some(1),
                true => None,
            })
            .collect();
        Ok(vec![reduced.reshape(shape)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Some(match self {
            Self::Sum | Self::Mean => Reads { inputs: vec![1], outputs: Vec::new() },
            Self::SumSquare | Self::L1 | Self::Prod => Reads { inputs: vec![0, 1], outputs: Vec::new() },
            Self::LogSum => Reads { inputs: vec![1], outputs: vec![0] },
            _ => Reads { inputs: vec![0, 1], outputs: vec![0] },
        })
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let shape = back.input_shapes[0].as_slice();
        let axes = reduced_axes(site, given(site, back.inputs)?, shape.len())?;
        let kept: Vec<usize> = shape
            .iter()
            .enumerate()
            .map(|(axis, size)| if axes.contains(&axis) { 1 } else { *size })
            .collect();
        let spread = |tensor: &Tensor| -> Result<Tensor, OpError> {
            Ok(tensor.reshape(kept.as_slice())?.broadcast_as(shape)?)
        };
        let gradient = spread(site.required(back.gradients, 0)?)?;
        let x = || site.required(back.inputs, 0);
        Ok(vec![Some(match self {
            Self::Sum => gradient,
            Self::Mean => {
                let count: usize = axes.iter().map(|axis| shape[*axis]).product();
                (gradient / count.max(1) as f64)?
            }
            Self::SumSquare => ((gradient * x()?)? * 2.0)?,
            Self::L1 => (gradient * sign(x()?)?)?,
            // Where a whole row is 0 the norm has no gradient; 0 is the subgradient that PyTorch takes.
            Self::L2 => {
                let norm = spread(site.required(back.outputs, 0)?)?;
                ((gradient * x()?)? / norm.maximum(f64::from(f32::MIN_POSITIVE))?)?
            }
            Self::LogSum => (gradient * spread(site.required(back.outputs, 0)?)?.neg()?.exp()?)?,
            Self::LogSumExp => (gradient * (x()? - spread(site.required(back.outputs, 0)?)?)?.exp()?)?,
            Self::Prod => (gradient * products_of_others(x()?, &axes)?)?,
            // Ties share the gradient.
            Self::Max | Self::Min => {
                let hits = x()?.eq(&spread(site.required(back.outputs, 0)?)?)?.to_dtype(gradient.dtype())?;
                let ties = hits.sum_keepdim(axes.as_slice())?.broadcast_as(shape)?;
                ((gradient * hits)? / ties)?
            }
        })])
    }

    fn problems(&self) -> Vec<Problem> {
        let low = if *self == Self::LogSum { 0.3 } else { -1.0 };
        let x = |what| Problem::new(what).random_in(&[2, 3, 5], low, 1.7);
        let mut problems = vec![
            x("an axis").ints("axes", &[1]).opset(11),
            x("two axes, dropped").integers(&[2], &[0, -1]).int("keepdims", 0).opset(18),
            x("everything").opset(18),
        ];
        match self {
            Self::Max | Self::Min => {
                let ties = [2.0, 2.0, 1.0, 1.0, 3.0, 1.0];
                problems.push(Problem::new("ties").floats(&[2, 3], &ties).integers(&[1], &[1]).opset(18));
            }
            Self::Prod => problems.push(
                Problem::new("zeros")
                    .floats(&[2, 3], &[0.0, 2.0, 1.5, 0.0, 0.0, 3.0])
                    .integers(&[1], &[1])
                    .opset(18),
            ),
            _ => problems.push(Problem::new("an empty batch").random(&[0, 3]).integers(&[1], &[1]).opset(18)),
        }
        problems
    }
}

fn keeps(site: &Site) -> bool {
    site.node.int("keepdims").unwrap_or(1) != 0
}

fn given(site: &Site, inputs: &[Option<Tensor>]) -> Result<Option<Vec<i64>>, OpError> {
    inputs.get(1).and_then(Option::as_ref).map(|axes| shapes::integers(site, axes)).transpose()
}

fn reduced_axes(site: &Site, given: Option<Vec<i64>>, rank: usize) -> Result<Vec<usize>, OpError> {
    let given = given.or_else(|| site.node.ints("axes").map(<[i64]>::to_vec)).unwrap_or_default();
    if given.is_empty() {
        let all = site.node.int("noop_with_empty_axes").unwrap_or(0) == 0;
        return Ok(if all { (0..rank).collect() } else { Vec::new() });
    }
    shapes::axes(site, &given, rank)
}

impl Reduce {
    fn keeping_dims(self, site: &Site, x: &Tensor, axes: &[usize]) -> Result<Tensor, OpError> {
        if axes.is_empty() {
            return Ok(match self {
                Self::SumSquare => x.sqr()?,
                Self::L1 | Self::L2 => x.abs()?,
                Self::LogSum => x.log()?,
                _ => x.clone(),
            });
        }
        Ok(match self {
            Self::Sum => x.sum_keepdim(axes)?,
            Self::Mean if x.dtype().is_float() => {
                let count: usize = axes.iter().map(|axis| x.dims()[*axis]).product();
                (x.sum_keepdim(axes)? / count as f64)?
            }
            Self::Mean => {
                let mean = self.keeping_dims(site, &x.to_dtype(Storage::F64)?, axes)?;
                mean.to_dtype(x.dtype())?
            }
            Self::SumSquare => (x * x)?.sum_keepdim(axes)?,
            Self::L1 => x.abs()?.sum_keepdim(axes)?,
            Self::L2 => (x * x)?.sum_keepdim(axes)?.sqrt()?,
            Self::LogSum => x.sum_keepdim(axes)?.log()?,
            Self::LogSumExp => {
                if x.elem_count() == 0 {
                    return Ok(x.exp()?.sum_keepdim(axes)?.log()?);
                }
                let largest = Self::Max.keeping_dims(site, x, axes)?;
                // An infinite one must not become infinity minus infinity.
                let shift = largest.clamp(f64::from(f32::MIN), f64::from(f32::MAX))?;
                (x.broadcast_sub(&shift)?.exp()?.sum_keepdim(axes)?.log()? + shift)?
            }
            Self::Prod => {
                let rows = Rows::new(x.dims(), axes);
                let numbers = host::numbers(x)?;
                let products: Vec<f64> =
                    rows.positions().iter().map(|row| row.iter().map(|at| numbers[*at]).product()).collect();
                let mut shape = x.dims().to_vec();
                axes.iter().for_each(|axis| shape[*axis] = 1);
                Tensor::from_vec(products, shape, &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())?
            }
            Self::Max | Self::Min => {
                if axes.iter().any(|axis| x.dims()[*axis] == 0) {
                    return self.of_nothing(site, x, axes);
                }
                let mut reduced = x.clone();
                for axis in axes {
                    reduced = match self {
                        Self::Max => reduced.max_keepdim(*axis)?,
                        _ => reduced.min_keepdim(*axis)?,
                    };
                }
                reduced
            }
        })
    }

    /// The extreme of no elements: the one that loses against every other.
    fn of_nothing(self, site: &Site, x: &Tensor, axes: &[usize]) -> Result<Tensor, OpError> {
        let mut shape = x.dims().to_vec();
        axes.iter().for_each(|axis| shape[*axis] = 1);
        let value = match (self, x.dtype()) {
            (Self::Max, Storage::U8) => 0.0,
            (Self::Max, dtype) if dtype.is_float() => f64::NEG_INFINITY,
            (Self::Min, dtype) if dtype.is_float() => f64::INFINITY,
            _ => return Err(site.refuse("an empty dimension has no largest or smallest element")),
        };
        Ok(Tensor::full(value, shape, x.device())?.to_dtype(x.dtype())?)
    }
}

fn sign(x: &Tensor) -> candle_core::Result<Tensor> {
    x.gt(0f64)?.to_dtype(x.dtype())? - x.lt(0f64)?.to_dtype(x.dtype())?
}

/// The elements that are reduced to one, for each element of the result.
struct Rows<'a> {
    shape: &'a [usize],
    axes: &'a [usize],
}

impl<'a> Rows<'a> {
    fn new(shape: &'a [usize], axes: &'a [usize]) -> Self {
        Self { shape, axes }
    }

    fn positions(&self) -> Vec<Vec<usize>> {
        let steps = strides(self.shape);
        let all = |wanted: bool| {
            let mut places = vec![0usize];
            for axis in (0..self.shape.len()).filter(|axis| self.axes.contains(axis) == wanted) {
                let along = |place: &usize| {
                    let (place, step) = (*place, steps[axis]);
                    (0..self.shape[axis]).map(move |i| place + i * step)
                };
                places = places.iter().flat_map(along).collect();
            }
            places
        };
        let inner = all(true);
        all(false).into_iter().map(|start| inner.iter().map(|at| start + at).collect()).collect()
    }
}

/// For each element the product of the others that it is reduced with: right where one is 0.
fn products_of_others(x: &Tensor, axes: &[usize]) -> Result<Tensor, OpError> {
    let numbers = host::numbers(x)?;
    let mut others = vec![1f64; numbers.len()];
    for row in Rows::new(x.dims(), axes).positions() {
        for order in [row.clone(), row.into_iter().rev().collect()] {
            let mut product = 1.0;
            for at in order {
                others[at] *= product;
                product *= numbers[at];
            }
        }
    }
    Ok(Tensor::from_vec(others, x.dims(), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())?)
}
