//! `InstanceNormalization` (Ulyanov et al. 2016) and `GroupNormalization` (Wu and He 2018): each image is
//! normalized over channels of its own, one by one or in groups.

use super::batch_norm::device_gradients;
use crate::device;
use crate::kernels::planes::{self, Groups, Normal};
use crate::kernels::slices;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::Tensor;
use refit_graph::{Fact, OpName};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupNorm {
    Instance,
    Group,
}

impl Operator for GroupNorm {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::Instance => "InstanceNormalization",
            Self::Group => "GroupNormalization",
        })
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let [x, scale, bias] =
            [site.required(inputs, 0)?, site.required(inputs, 1)?, site.required(inputs, 2)?];
        let groups = self.groups(site, x.dims())?;
        let spread = Spread::new(site, scale.elem_count(), &groups)?;
        if bias.elem_count() != scale.elem_count() {
            return Err(site.refuse("scale and bias differ in size"));
        }
        if !slices::is_cpu(x) {
            let (normal, groups) = self.normal(site, x, scale)?;
            let y = device::planes::forward(&groups.of(x)?, &normal, &groups.parameter(bias)?)?;
            return Ok(vec![y.reshape(x.dims())?.to_dtype(x.dtype())?]);
        }
        let y = host::with3([x, scale, bias], |x, scale, bias| {
            let (mean, inverse) = statistics(site, x, &groups);
            let (gamma, beta) = (spread.over(scale), spread.over(bias));
            planes::forward(x, Normal { mean: &mean, inverse: &inverse, gamma: &gamma }, &beta, &groups)
        })?;
        Ok(vec![host::tensor(y, x.dims(), x)?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let (x, scale) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        let groups = self.groups(site, x.dims())?;
        let spread = Spread::new(site, scale.elem_count(), &groups)?;
        if !slices::is_cpu(gradient) {
            let (normal, groups) = self.normal(site, x, scale)?;
            let (x, g) = (groups.of(x)?, groups.of(gradient)?);
            let made = device::planes::backward(&x, &g, &normal, false, &groups)?;
            return device_gradients(made, back, gradient);
        }
        let made = host::with3([x, gradient, scale], |x, g, scale| {
            let (mean, inverse) = statistics(site, x, &groups);
            let normal = Normal { mean: &mean, inverse: &inverse, gamma: &spread.over(scale) };
            planes::backward(x, g, normal, false, &groups)
        })?;
        let mut gradients = vec![None; back.input_shapes.len()];
        let made = [made.x, spread.sum(&made.gamma), spread.sum(&made.beta)];
        for (index, data) in made.into_iter().enumerate() {
            if back.wants(index) {
                gradients[index] = Some(host::tensor(data, &back.input_shapes[index], gradient)?);
            }
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |what, shape: &[usize], scales: usize| {
            Problem::new(what).random(shape).random_in(&[scales], 0.5, 1.5).random(&[scales])
        };
        match self {
            Self::Instance => vec![
                problem("two dimensions", &[2, 3, 3, 5], 3).float("epsilon", 1e-3),
                problem("one dimension, a batch", &[3, 2, 19], 2),
                problem("an empty batch", &[0, 2, 3], 2),
            ],
            Self::Group => vec![
                problem("two groups", &[2, 4, 3, 3], 4).int("num_groups", 2).float("epsilon", 1e-3),
                problem("one group, no space", &[3, 6], 6).int("num_groups", 1),
                problem("a scale for each group", &[2, 6, 5], 3).int("num_groups", 3).opset(18),
                problem("an empty batch", &[0, 4, 3], 4).int("num_groups", 2),
            ],
        }
    }
}

impl GroupNorm {
    fn groups(self, site: &Site, shape: &[usize]) -> Result<Groups, OpError> {
        if shape.len() < 2 {
            return Err(site.refuse("batch and channels were expected"));
        }
        let (batch, channels) = (shape[0], shape[1]);
        let count = self.count(site, channels);
        if count == 0 || !channels.is_multiple_of(count) {
            return Err(site.refuse(format!("{channels} channels cannot be put into {count} equal groups")));
        }
        let of_plane = (0..batch * channels).map(|plane| plane / (channels / count)).collect();
        Ok(Groups { of_plane, count: batch * count, length: shape[2..].iter().product(), channels })
    }

    /// Groups of an image.
    fn count(self, site: &Site, channels: usize) -> usize {
        match self {
            Self::Instance => channels,
            Self::Group => site.node.int("num_groups").and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
        }
    }

    /// What to normalize `x` by on a device; its shape was found to fit.
    fn normal(
        self,
        site: &Site,
        x: &Tensor,
        scale: &Tensor,
    ) -> Result<(device::planes::Normal, device::planes::Groups), OpError> {
        let (batch, channels) = (x.dims()[0], x.dims()[1]);
        let count = self.count(site, channels);
        let shape = [batch, count, channels / count, x.dims()[2..].iter().product()];
        let groups = device::planes::Groups { shape, axes: &[2, 3] };
        let (mean, variance) = device::planes::statistics(&groups.of(x)?, &groups)?;
        let inverse = device::planes::inverse(&variance, epsilon(site))?;
        Ok((device::planes::Normal { mean, inverse, gamma: groups.parameter(scale)? }, groups))
    }
}

fn epsilon(site: &Site) -> f32 {
    site.node.float("epsilon").unwrap_or(1e-5)
}

fn statistics(site: &Site, x: &[f32], groups: &Groups) -> (Vec<f32>, Vec<f32>) {
    let epsilon = epsilon(site);
    let (mean, variance) = planes::statistics(x, groups);
    (mean, variance.into_iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect())
}

/// Scale and bias: one for each channel, in opset 18 one for each group.
struct Spread {
    channels: usize,
    repeats: usize,
}

impl Spread {
    fn new(site: &Site, given: usize, groups: &Groups) -> Result<Self, OpError> {
        let channels = groups.channels;
        let of_group = site.opset < 21 && site.node.int("num_groups") == Some(given as i64);
        if given == channels || (of_group && given > 0) {
            return Ok(Self { channels, repeats: channels / given.max(1) });
        }
        Err(site.refuse(format!("{given} scales for {channels} channels")))
    }

    fn over(&self, given: &[f32]) -> Vec<f32> {
        (0..self.channels).map(|channel| given[channel / self.repeats]).collect()
    }

    fn sum(&self, of_channels: &[f32]) -> Vec<f32> {
        of_channels.chunks(self.repeats.max(1)).map(|part| part.iter().sum()).collect()
    }
}
