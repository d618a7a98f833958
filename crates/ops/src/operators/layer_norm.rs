//! `refit.LayerNorm(x, gamma, beta)` over the last axis, and the standard's `LayerNormalization` over
//! everything from `axis` on.

use crate::kernels::{self, slices};
use crate::shapes::{axis, of_type, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{D, DType as Storage, Tensor};
use refit_graph::{DType, Dim, Fact, OpName};

/// Whose layer normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerNorm {
    Refit,
    Standard,
}

impl Operator for LayerNorm {
    fn name(&self) -> OpName {
        match self {
            Self::Refit => OpName::refit("LayerNorm"),
            Self::Standard => OpName::standard("LayerNormalization"),
        }
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let Some(dims) = x.shape.clone() else { return Ok(vec![of_type(x.dtype)]) };
        let first = self.first_axis(site, dims.len())?;
        let statistics: Vec<Dim> = (0..dims.len())
            .map(|index| if index < first { dims[index].clone() } else { Dim::Known(1) })
            .collect();
        let statistics = shaped(Some(DType::F32), Some(statistics));
        Ok(vec![Fact { elements: None, ..x }, statistics.clone(), statistics])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, gamma) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let beta = inputs.get(2).and_then(Option::as_ref);
        let rows = self.rows(site, x.dims(), gamma.dims())?;
        let fast = slices::is_cpu_f32(x) && slices::is_cpu_f32(gamma);
        if fast && site.node.output(1).is_none() && site.node.output(2).is_none() {
            let (x, gamma) = (x.contiguous()?, gamma.contiguous()?);
            let run = |beta: &[f32]| {
                let epsilon = epsilon(site);
                slices::with(&x, |x| {
                    slices::with(&gamma, |gamma| kernels::layer_norm::forward(x, gamma, beta, epsilon))
                })
            };
            let y = match beta {
                Some(beta) => slices::with(&beta.contiguous()?, run)???,
                None => run(&[])??,
            };
            return Ok(vec![Tensor::from_vec(y, x.dims(), x.device())?]);
        }
        let Normal { normal, mean, scale } = normalize(site, x, rows)?;
        let mut y = normal.to_dtype(x.dtype())?.broadcast_mul(&gamma.flatten_all()?)?;
        if let Some(beta) = beta {
            y = y.broadcast_add(&beta.flatten_all()?)?;
        }
        let first = self.first_axis(site, x.rank())?;
        let mut shape = x.dims().to_vec();
        shape[first..].fill(1);
        Ok(vec![y.reshape(x.dims())?, mean.reshape(shape.as_slice())?, scale.reshape(shape)?])
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (x, gamma) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        if back.gradients.iter().skip(1).any(Option::is_some) {
            let why = "its mean and deviation are read by something that is trained".to_owned();
            return Err(OpError::NotDifferentiable { op: self.name(), why });
        }
        let gradient = site.required(back.gradients, 0)?;
        let rows = self.rows(site, x.dims(), gamma.dims())?;
        let made = match slices::is_cpu_f32(x) && slices::is_cpu_f32(gradient) {
            true => on_cpu(x, gamma, gradient, epsilon(site))?,
            false => on_device(site, x, gamma, gradient, rows)?,
        };
        made.into_iter()
            .zip(back.input_shapes)
            .enumerate()
            .map(|(index, (gradient, shape))| {
                back.wants(index).then(|| Ok(gradient.reshape(shape.as_slice())?)).transpose()
            })
            .collect()
    }

    fn problems(&self) -> Vec<Problem> {
        let problem =
            |what, shape: &[usize]| Problem::new(what).random(shape).random_in(&[19], 0.5, 1.5).random(&[19]);
        let mut problems = vec![
            problem("odd width", &[2, 3, 19]).float("epsilon", 1e-3),
            problem("an empty batch", &[0, 19]),
        ];
        if *self == Self::Standard {
            problems
                .push(Problem::new("two axes, no bias").random(&[3, 4, 5]).random(&[4, 5]).int("axis", 1));
        }
        problems
    }
}

fn epsilon(site: &Site) -> f32 {
    site.node.float("epsilon").unwrap_or(1e-5)
}

impl LayerNorm {
    fn first_axis(self, site: &Site, rank: usize) -> Result<usize, OpError> {
        let given = if self == Self::Refit { None } else { site.node.int("axis") };
        axis(site, given.unwrap_or(-1), rank)
    }

    /// `x` as [rows, columns].
    fn rows(self, site: &Site, x: &[usize], gamma: &[usize]) -> Result<(usize, usize), OpError> {
        let first = self.first_axis(site, x.len())?;
        let columns: usize = x[first..].iter().product();
        if columns != gamma.iter().product::<usize>() || columns == 0 {
            return Err(site.refuse(format!("rows of {:?} do not fit a scale of {gamma:?}", &x[first..])));
        }
        Ok((x[..first].iter().product(), columns))
    }
}

/// Rows with mean 0 and variance 1, and what they were shifted and scaled by.
struct Normal {
    normal: Tensor,
    mean: Tensor,
    scale: Tensor,
}

fn normalize(site: &Site, x: &Tensor, rows: (usize, usize)) -> Result<Normal, OpError> {
    let x = x.to_dtype(Storage::F32)?.reshape(rows)?;
    let mean = (x.sum_keepdim(D::Minus1)? / rows.1 as f64)?;
    let centred = x.broadcast_sub(&mean)?;
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / rows.1 as f64)?;
    let scale = (variance + f64::from(epsilon(site)))?.sqrt()?.recip()?;
    Ok(Normal { normal: centred.broadcast_mul(&scale)?, mean, scale })
}

fn on_cpu(x: &Tensor, gamma: &Tensor, gradient: &Tensor, epsilon: f32) -> Result<Vec<Tensor>, OpError> {
    let (x, gamma, gradient) = (x.contiguous()?, gamma.contiguous()?, gradient.contiguous()?);
    let made = slices::with(&x, |x| {
        slices::with(&gamma, |gamma| {
            slices::with(&gradient, |g| kernels::layer_norm::backward(x, gamma, g, epsilon))
        })
    })???;
    let tensor = |data: Vec<f32>, shape: &[usize]| Tensor::from_vec(data, shape, x.device());
    Ok(vec![tensor(made.x, x.dims())?, tensor(made.gamma, gamma.dims())?, tensor(made.beta, gamma.dims())?])
}

fn on_device(
    site: &Site,
    x: &Tensor,
    gamma: &Tensor,
    gradient: &Tensor,
    rows: (usize, usize),
) -> Result<Vec<Tensor>, OpError> {
    let Normal { normal, scale, .. } = normalize(site, x, rows)?;
    let gradient = gradient.to_dtype(Storage::F32)?.reshape(rows)?;
    let scaled = gradient.broadcast_mul(&gamma.to_dtype(Storage::F32)?.flatten_all()?)?;
    let mean = |t: &Tensor| -> candle_core::Result<Tensor> { t.sum_keepdim(D::Minus1)? / rows.1 as f64 };
    let along = normal.broadcast_mul(&mean(&(&scaled * &normal)?)?)?;
    let dx = (scaled.broadcast_sub(&mean(&scaled)?)? - along)?.broadcast_mul(&scale)?;
    Ok(vec![
        dx.to_dtype(x.dtype())?,
        (&gradient * &normal)?.sum(0)?.to_dtype(gamma.dtype())?,
        gradient.sum(0)?.to_dtype(gamma.dtype())?,
    ])
}
