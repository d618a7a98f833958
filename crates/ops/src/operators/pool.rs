//! `MaxPool`, `AveragePool` and `LpPool` over sliding windows. Of equal largest elements the first
//! one has the gradient, as in PyTorch.

use crate::device;
use crate::kernels::pool::{self, Pool, Sizes};
use crate::kernels::slices;
use crate::shapes::shaped;
use crate::windows::{Windows, three};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::Tensor;
use refit_graph::{Attribute, DType, Dim, Fact, OpName};

/// Which pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    Max,
    Average,
    Lp,
}

impl Operator for Pooling {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::Max => "MaxPool",
            Self::Average => "AveragePool",
            Self::Lp => "LpPool",
        })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let windows = Windows::of_pool(site)?;
        let shape = match x.shape {
            Some(dims) if dims.len() == windows.kernel.len() + 2 => {
                let mut shape: Vec<Dim> = dims[..2].to_vec();
                for (axis, dim) in dims[2..].iter().enumerate() {
                    shape.push(windows.dim(site, axis, dim)?);
                }
                Some(shape)
            }
            Some(dims) => {
                let (axes, given) = (dims.len(), windows.kernel.len());
                return Err(site.refuse(format!("a kernel of {given} dimensions for an input of {axes}")));
            }
            None => None,
        };
        Ok(vec![shaped(x.dtype, shape.clone()), shaped(Some(DType::I64), shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let sizes = sizes(site, x.dims())?;
        let mut shape = x.dims().to_vec();
        let spatial = shape.len() - 2;
        shape[2..].copy_from_slice(&sizes.output[3 - spatial..]);
        let with_indices = *self == Self::Max && site.node.output(1).is_some();
        let column_major = site.node.int("storage_order").unwrap_or(0) != 0;
        if !slices::is_cpu(x) {
            let y = device::pool::forward(x, self.kind(site), &sizes)?;
            let mut outputs = vec![y.reshape(shape.as_slice())?];
            if with_indices {
                outputs.push(device::pool::largest_at(x, column_major, &sizes)?.reshape(shape)?);
            }
            return Ok(outputs);
        }
        let y = host::with(x, |x| pool::forward(x, self.kind(site), &sizes))?;
        let mut outputs = vec![host::tensor(y, &shape, x)?];
        if with_indices {
            let indices = host::with(x, |x| pool::largest_at(x, column_major, &sizes))?;
            outputs.push(Tensor::from_vec(indices, shape, x.device())?);
        }
        Ok(outputs)
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        match self {
            Self::Average => Reads::nothing(),
            _ => Some(Reads { inputs: vec![0], outputs: vec![0] }),
        }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let sizes = sizes(site, &back.input_shapes[0])?;
        let kind = self.kind(site);
        if !slices::is_cpu(gradient) {
            let forward = match self {
                Self::Average => None,
                _ => Some((site.required(back.inputs, 0)?, site.required(back.outputs, 0)?)),
            };
            let dx = device::pool::backward(forward, gradient, kind, &sizes)?;
            return Ok(vec![Some(dx.reshape(back.input_shapes[0].as_slice())?)]);
        }
        let dx = match self {
            Self::Average => host::with(gradient, |g| pool::backward(&[], &[], g, kind, &sizes))?,
            _ => {
                let (x, y) = (site.required(back.inputs, 0)?, site.required(back.outputs, 0)?);
                host::with3([x, y, gradient], |x, y, g| pool::backward(x, y, g, kind, &sizes))?
            }
        };
        Ok(vec![Some(host::tensor(dx, &back.input_shapes[0], gradient)?)])
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |what, x: &[usize], kernel: &[i64]| {
            let count: usize = x.iter().product();
            // No two within the step of a finite difference: 127 is a prime.
            let apart: Vec<f32> = (0..count).map(|i| (i * 37 % 127) as f32 * 0.05 - 3.0).collect();
            let problem = match self {
                Self::Max => Problem::new(what).floats(x, &apart),
                Self::Average => Problem::new(what).random(x),
                Self::Lp => Problem::new(what).random_in(x, 0.2, 1.5),
            };
            problem.ints("kernel_shape", kernel)
        };
        let same = |how: &'static str| Attribute::String(how.as_bytes().into());
        let mut problems = vec![
            problem("kernel is not the stride, padded", &[2, 2, 5, 6], &[3, 2])
                .ints("strides", &[2, 3])
                .ints("pads", &[1, 0, 1, 1]),
            problem("one dimension, overlapping", &[2, 3, 7], &[3]),
            problem("three dimensions", &[1, 2, 3, 4, 3], &[2, 2, 2]).ints("strides", &[1, 2, 1]),
            problem("rounded up", &[1, 1, 6, 7], &[3, 3]).ints("strides", &[2, 3]).int("ceil_mode", 1),
            problem("dilated", &[1, 2, 6, 6], &[2, 3]).ints("dilations", &[3, 2]),
            problem("same size, upper", &[1, 2, 5, 5], &[2, 3]).attribute("auto_pad", same("SAME_UPPER")),
            problem("same size, lower", &[1, 2, 5, 5], &[2, 3])
                .attribute("auto_pad", same("SAME_LOWER"))
                .ints("strides", &[2, 2]),
            problem("an empty batch", &[0, 2, 4, 4], &[2, 2]),
        ];
        match self {
            Self::Max => problems
                .extend([problem("with indices", &[2, 1, 4, 5], &[2, 2]).int("storage_order", 1).outputs(2)]),
            Self::Average => problems.push(
                problem("padding counts, rounded up", &[1, 2, 5, 6], &[3, 3])
                    .ints("strides", &[2, 2])
                    .ints("pads", &[1, 1, 0, 1])
                    .int("ceil_mode", 1)
                    .int("count_include_pad", 1),
            ),
            Self::Lp => problems.push(problem("p = 3", &[1, 2, 4, 4], &[2, 2]).int("p", 3)),
        }
        problems
    }
}

impl Pooling {
    fn kind(self, site: &Site) -> Pool {
        match self {
            Self::Max => Pool::Max,
            Self::Average => {
                Pool::Mean { count_padding: site.node.int("count_include_pad").unwrap_or(0) != 0 }
            }
            Self::Lp => Pool::Norm(site.node.int("p").unwrap_or(2) as f32),
        }
    }
}

fn sizes(site: &Site, x: &[usize]) -> Result<Sizes, OpError> {
    if x.len() < 3 {
        return Err(site.refuse("batch, channels and at least one spatial dimension were expected"));
    }
    let windows = Windows::of_pool(site)?;
    let spans = windows.spans(site, &x[2..])?;
    let of = |pick: fn(&crate::windows::Span) -> usize| spans.iter().map(pick).collect::<Vec<_>>();
    let before = three(site, &of(|span| span.before), 0)?;
    let after = three(site, &of(|span| span.after), 0)?;
    Ok(Sizes {
        planes: x[0] * x[1],
        input: three(site, &x[2..], 1)?,
        output: three(site, &of(|span| span.output), 1)?,
        kernel: three(site, &windows.kernel, 1)?,
        strides: three(site, &windows.strides, 1)?,
        dilations: three(site, &windows.dilations, 1)?,
        pads: std::array::from_fn(|axis| (before[axis], after[axis])),
    })
}
