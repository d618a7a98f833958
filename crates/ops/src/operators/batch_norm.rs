//! `BatchNormalization(x, scale, bias, mean, variance)` (Ioffe and Szegedy 2015). Evaluating, it is an
//! affine function of each channel; with `training_mode` it normalizes by the batch's own statistics and
//! gives the running ones that follow. Mean and variance are statistics, not parameters: no gradient
//! reaches them.
//!
//! `refit.BatchNorm` does the first when evaluating and the second in training, as PyTorch's module does:
//! its running variance is the unbiased one.

use crate::device;
use crate::kernels::planes::{self, Groups, Normal};
use crate::kernels::slices;
use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{DType as Storage, Tensor};
use refit_graph::{Fact, OpName};

/// Whose operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchNorm {
    Refit,
    Standard,
}

impl Operator for BatchNorm {
    fn name(&self) -> OpName {
        match self {
            Self::Refit => OpName::refit("BatchNorm"),
            Self::Standard => OpName::standard("BatchNormalization"),
        }
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = Fact { elements: None, ..inputs.fact(0) };
        if *self == Self::Standard && !trains(site)? {
            return Ok(vec![x]);
        }
        let running = |index| shaped(inputs.dtype(index), inputs.fact(index).shape);
        Ok(vec![x, running(3), running(4)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let (scale, bias) = (site.required(inputs, 1)?, site.required(inputs, 2)?);
        check(site, inputs, x.dims())?;
        if !slices::is_cpu(x) {
            return self.on_device(site, inputs, [x, scale, bias]);
        }
        let (statistics, groups) = self.statistics(site, inputs, x.dims())?;
        let y = host::with3([x, scale, bias], |x, gamma, beta| {
            let Statistics { mean, inverse, .. } = &statistics;
            planes::forward(x, Normal { mean, inverse, gamma }, beta, &groups)
        })?;
        let mut outputs = vec![host::tensor(y, x.dims(), x)?];
        if !self.trains(site)? && site.node.outputs.len() > 1 {
            outputs.extend([site.required(inputs, 3)?.clone(), site.required(inputs, 4)?.clone()]);
        } else if site.node.outputs.len() > 1 {
            let (momentum, factor) = (momentum(site), self.of_variance(x.dims()));
            let variance = statistics.variance.iter().map(|variance| variance * factor).collect();
            for (index, new) in [(3, statistics.mean), (4, variance)] {
                let old = site.required(inputs, index)?;
                let blend = |old: &f32, new: &f32| old * momentum + new * (1.0 - momentum);
                let running =
                    host::with(old, |old| old.iter().zip(&new).map(|(o, n)| blend(o, n)).collect())?;
                outputs.push(host::tensor(running, old.dims(), old)?);
            }
        }
        Ok(outputs)
    }

    fn differentiable(&self, index: usize) -> bool {
        index < 3
    }

    fn reads(&self, site: &Site, _wanted: &[bool]) -> Option<Reads> {
        let own = *self == Self::Refit || matches!(trains(site), Ok(true));
        Reads::inputs(if own { &[0, 1] } else { &[0, 1, 3, 4] })
    }

    fn updates(&self) -> &'static [(usize, usize)] {
        if *self == Self::Refit { &[(3, 1), (4, 2)] } else { &[] }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        if back.gradients.iter().skip(1).any(Option::is_some) {
            let why = "its running statistics are read by something that is trained".to_owned();
            return Err(OpError::NotDifferentiable { op: self.name(), why });
        }
        let gradient = site.required(back.gradients, 0)?;
        let (x, scale) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        check(site, back.inputs, x.dims())?;
        let constant = !self.trains(site)?;
        if !slices::is_cpu(gradient) {
            let (normal, _, groups) = self.normal(site, back.inputs, [x, scale])?;
            let (x, g) = (groups.of(x)?, groups.of(gradient)?);
            let made = device::planes::backward(&x, &g, &normal, constant, &groups)?;
            return device_gradients(made, back, gradient);
        }
        let (statistics, groups) = self.statistics(site, back.inputs, x.dims())?;
        let made = host::with3([x, gradient, scale], |x, g, gamma| {
            let Statistics { mean, inverse, .. } = &statistics;
            planes::backward(x, g, Normal { mean, inverse, gamma }, constant, &groups)
        })?;
        let mut gradients = vec![None; back.input_shapes.len()];
        for (index, data) in [made.x, made.gamma, made.beta].into_iter().enumerate() {
            if back.wants(index) {
                gradients[index] = Some(host::tensor(data, &back.input_shapes[index], gradient)?);
            }
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |what, shape: &[usize]| {
            let channels = [shape[1]];
            Problem::new(what)
                .random(shape)
                .random_in(&channels, 0.5, 1.5)
                .random(&channels)
                .random(&channels)
                .random_in(&channels, 0.5, 1.5)
        };
        if *self == Self::Refit {
            return vec![
                problem("training", &[2, 3, 3, 5]).seed(1),
                problem("training without space", &[5, 2]).seed(1),
                problem("an empty batch", &[0, 3, 2, 2]).seed(1),
            ];
        }
        vec![
            problem("evaluating", &[2, 3, 4, 5]).float("epsilon", 1e-3),
            problem("one dimension", &[3, 2, 19]),
            problem("no space", &[4, 3]),
            problem("training", &[2, 3, 3, 3]).int("training_mode", 1),
            problem("an empty batch", &[0, 3, 2, 2]),
            problem("an older version", &[2, 3, 2, 2]).opset(9),
        ]
    }
}

struct Statistics {
    mean: Vec<f32>,
    variance: Vec<f32>,
    inverse: Vec<f32>,
}

impl BatchNorm {
    fn trains(self, site: &Site) -> Result<bool, OpError> {
        if self == Self::Refit { Ok(site.seed.is_some()) } else { trains(site) }
    }

    /// The statistics to normalize by: the given ones, or in training those of the batch.
    fn statistics(
        &self,
        site: &Site,
        inputs: &[Option<Tensor>],
        shape: &[usize],
    ) -> Result<(Statistics, Groups), OpError> {
        let (batch, channels) = (shape[0], shape[1]);
        let groups = Groups {
            of_plane: (0..batch * channels).map(|plane| plane % channels).collect(),
            count: channels,
            length: shape[2..].iter().product(),
            channels,
        };
        let (mean, variance) = match self.trains(site)? {
            true => host::with(site.required(inputs, 0)?, |x| planes::statistics(x, &groups))?,
            false => host::with2(site.required(inputs, 3)?, site.required(inputs, 4)?, |mean, variance| {
                (mean.to_vec(), variance.to_vec())
            })?,
        };
        let epsilon = epsilon(site);
        let inverse = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
        Ok((Statistics { mean, variance, inverse }, groups))
    }

    /// What the variance of a batch is multiplied by before it is blended with the running one.
    fn of_variance(self, x: &[usize]) -> f32 {
        let count = x.iter().product::<usize>() / x[1].max(1);
        match self {
            Self::Refit if count > 1 => count as f32 / (count - 1) as f32,
            _ => 1.0,
        }
    }

    /// The forward pass where `x`, scale and bias lie.
    fn on_device(
        &self,
        site: &Site,
        inputs: &[Option<Tensor>],
        [x, scale, bias]: [&Tensor; 3],
    ) -> Result<Vec<Tensor>, OpError> {
        let (normal, variance, groups) = self.normal(site, inputs, [x, scale])?;
        let y = device::planes::forward(&groups.of(x)?, &normal, &groups.parameter(bias)?)?;
        let mut outputs = vec![y.reshape(x.dims())?.to_dtype(x.dtype())?];
        if site.node.outputs.len() < 2 {
            return Ok(outputs);
        }
        let (mean, factor) = (normal.mean, f64::from(self.of_variance(x.dims())));
        for (index, new) in [(3, mean), (4, (variance * factor)?)] {
            let old = site.required(inputs, index)?;
            outputs.push(match self.trains(site)? {
                false => old.clone(),
                true => {
                    let momentum = f64::from(momentum(site));
                    let new = (new.reshape(old.dims())? * (1.0 - momentum))?;
                    ((old.to_dtype(Storage::F32)? * momentum)? + new)?.to_dtype(old.dtype())?
                }
            });
        }
        Ok(outputs)
    }

    /// What to normalize by on a device, and the variance in it.
    fn normal(
        &self,
        site: &Site,
        inputs: &[Option<Tensor>],
        [x, scale]: [&Tensor; 2],
    ) -> Result<(device::planes::Normal, Tensor, device::planes::Groups), OpError> {
        let shape = [x.dims()[0], x.dims()[1], 1, x.dims()[2..].iter().product()];
        let groups = device::planes::Groups { shape, axes: &[0, 2, 3] };
        let (mean, variance) = match self.trains(site)? {
            true => device::planes::statistics(&groups.of(x)?, &groups)?,
            false => {
                let given = |index| Ok::<_, OpError>(groups.parameter(site.required(inputs, index)?)?);
                (given(3)?, given(4)?)
            }
        };
        let inverse = device::planes::inverse(&variance, epsilon(site))?;
        Ok((device::planes::Normal { mean, inverse, gamma: groups.parameter(scale)? }, variance, groups))
    }
}

/// The wanted gradients of an input, its scale and its bias, in their shapes and the type of `like`.
pub(super) fn device_gradients(
    made: [Tensor; 3],
    back: &Backward,
    like: &Tensor,
) -> Result<Vec<Option<Tensor>>, OpError> {
    let mut gradients = vec![None; back.input_shapes.len()];
    for (index, made) in made.into_iter().enumerate().filter(|(index, _)| back.wants(*index)) {
        let shape = back.input_shapes[index].as_slice();
        gradients[index] = Some(made.reshape(shape)?.to_dtype(like.dtype())?);
    }
    Ok(gradients)
}

fn epsilon(site: &Site) -> f32 {
    site.node.float("epsilon").unwrap_or(1e-5)
}

fn momentum(site: &Site) -> f32 {
    site.node.float("momentum").unwrap_or(0.9)
}

fn check(site: &Site, inputs: &[Option<Tensor>], shape: &[usize]) -> Result<(), OpError> {
    if shape.len() < 2 {
        return Err(site.refuse("batch and channels were expected"));
    }
    for index in 1..5 {
        let given = inputs.get(index).and_then(Option::as_ref);
        if given.is_some_and(|tensor| tensor.elem_count() != shape[1]) {
            return Err(site.refuse(format!("input {index} does not have {} elements", shape[1])));
        }
    }
    Ok(())
}

/// Whether the node normalizes by the batch's statistics. Before opset 14 more outputs said so.
fn trains(site: &Site) -> Result<bool, OpError> {
    if site.opset < 14 && site.node.outputs.len() > 1 {
        return Err(site.refuse("an export for training in an operator set before 14 is not supported"));
    }
    Ok(site.node.int("training_mode").unwrap_or(0) != 0)
}
