//! Reductions over axes: an attribute, from opset 18 on (`ReduceSum`: 13) an input.

use crate::shapes::{self, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{DType as Storage, Tensor};
use refit_graph::{Dim, Fact, OpName};

/// How elements are reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    SumSquare,
    L2,
}

impl Operator for Reduce {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::Sum => "ReduceSum",
            Self::Mean => "ReduceMean",
            Self::Max => "ReduceMax",
            Self::Min => "ReduceMin",
            Self::SumSquare => "ReduceSumSquare",
            Self::L2 => "ReduceL2",
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
            Self::SumSquare => Reads { inputs: vec![0, 1], outputs: Vec::new() },
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
            Self::L2 => ((gradient * x()?)? / spread(site.required(back.outputs, 0)?)?)?,
            // Ties share the gradient.
            Self::Max | Self::Min => {
                let hits = x()?.eq(&spread(site.required(back.outputs, 0)?)?)?.to_dtype(gradient.dtype())?;
                let ties = hits.sum_keepdim(axes.as_slice())?.broadcast_as(shape)?;
                ((gradient * hits)? / ties)?
            }
        })])
    }

    fn problems(&self) -> Vec<Problem> {
        let x = |what| Problem::new(what).random(&[2, 3, 5]);
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
                Self::L2 => x.abs()?,
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
            Self::L2 => (x * x)?.sum_keepdim(axes)?.sqrt()?,
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
