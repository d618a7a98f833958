//! `LRN(x)`: local response normalization (Krizhevsky et al. 2012),
//! `x / (bias + alpha / size * sum of x^2 over size neighbouring channels)^beta`.

use crate::kernels::slices;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{DType, Tensor};
use rayon::prelude::*;
use refit_graph::{Fact, OpName};

pub(crate) struct Lrn;

impl Operator for Lrn {
    fn name(&self) -> OpName {
        OpName::standard("LRN")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let rule = Rule::new(site, x.dims())?;
        if !slices::is_cpu(x) {
            let rows = rule.rows(x)?;
            let base = rule.bases_on_device(&rows)?;
            let y = (rows * base.powf(-f64::from(rule.beta))?)?;
            return Ok(vec![y.to_dtype(x.dtype())?.reshape(x.dims())?]);
        }
        let y = host::with(x, |x| {
            let sums = rule.sums(x, |j, from| x[from + j] * x[from + j], rule.before, rule.after);
            x.iter().zip(sums).map(|(x, sum)| x * rule.base(sum).powf(-rule.beta)).collect()
        })?;
        Ok(vec![host::tensor(y, x.dims(), x)?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0])
    }

    /// With `s` the base: `g * s^-beta - 2 * alpha / size * beta * x * sum of g * x * s^(-beta - 1)` over
    /// the channels in whose window `x` lies.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, x) = (site.required(back.gradients, 0)?, site.required(back.inputs, 0)?);
        let rule = Rule::new(site, x.dims())?;
        if !slices::is_cpu(x) {
            let (rows, g, beta) = (rule.rows(x)?, rule.rows(gradient)?, f64::from(rule.beta));
            let base = rule.bases_on_device(&rows)?;
            let shares = ((&g * &rows)? * base.powf(-beta - 1.0)?)?;
            let along = window_sums(&shares, rule.after, rule.before)?;
            let through = ((rows * along)? * (2.0 * f64::from(rule.alpha) * beta))?;
            let dx = ((g * base.powf(-beta)?)? - through)?;
            return Ok(vec![Some(dx.to_dtype(gradient.dtype())?.reshape(x.dims())?)]);
        }
        let dx = host::with2(x, gradient, |x, g| {
            let sums = rule.sums(x, |j, from| x[from + j] * x[from + j], rule.before, rule.after);
            let bases: Vec<f32> = sums.into_iter().map(|sum| rule.base(sum)).collect();
            let share = |i: usize| g[i] * x[i] * bases[i].powf(-rule.beta - 1.0);
            let shares: Vec<f32> = (0..x.len()).map(share).collect();
            let along = rule.sums(&shares, |j, from| shares[from + j], rule.after, rule.before);
            let factor = 2.0 * rule.alpha * rule.beta;
            (0..x.len()).map(|i| g[i] * bases[i].powf(-rule.beta) - factor * x[i] * along[i]).collect()
        })?;
        Ok(vec![Some(host::tensor(dx, x.dims(), gradient)?)])
    }

    fn problems(&self) -> Vec<Problem> {
        let x = |what| Problem::new(what).random(&[2, 5, 3]).float("alpha", 0.5);
        vec![
            x("an odd window").int("size", 3),
            x("an even window").int("size", 4).float("beta", 0.5).float("bias", 2.0),
            Problem::new("an empty batch").random(&[0, 3, 2]).int("size", 3),
        ]
    }
}

struct Rule {
    /// Already divided by the size.
    alpha: f32,
    beta: f32,
    bias: f32,
    before: usize,
    after: usize,
    channels: usize,
    length: usize,
}

impl Rule {
    fn new(site: &Site, shape: &[usize]) -> Result<Self, OpError> {
        let size = site.node.int("size").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let (Some(size), [_, channels, space @ ..]) = (size, shape) else {
            return Err(site.refuse("batch and channels and a window size were expected"));
        };
        Ok(Self {
            alpha: site.node.float("alpha").unwrap_or(1e-4) / size as f32,
            beta: site.node.float("beta").unwrap_or(0.75),
            bias: site.node.float("bias").unwrap_or(1.0),
            before: (size - 1) / 2,
            after: size / 2,
            channels: *channels,
            length: space.iter().product(),
        })
    }

    /// Float32 of [batch, channels, positions].
    fn rows(&self, x: &Tensor) -> Result<Tensor, OpError> {
        let batch = x.dim(0)?;
        Ok(x.contiguous()?.to_dtype(DType::F32)?.reshape((batch, self.channels, self.length))?)
    }

    fn bases_on_device(&self, rows: &Tensor) -> Result<Tensor, OpError> {
        let sums = window_sums(&rows.sqr()?, self.before, self.after)?;
        Ok(sums.affine(f64::from(self.alpha), f64::from(self.bias))?)
    }

    fn base(&self, sum: f32) -> f32 {
        self.bias + self.alpha * sum
    }

    /// Sums over a window of channels, of what `term(position, start of the channel)` gives.
    fn sums(
        &self,
        like: &[f32],
        term: impl Fn(usize, usize) -> f32 + Sync,
        before: usize,
        after: usize,
    ) -> Vec<f32> {
        let mut sums = vec![0f32; like.len()];
        if self.length == 0 {
            return sums;
        }
        sums.par_chunks_mut(self.length).enumerate().for_each(|(plane, sums)| {
            let (image, channel) = (plane / self.channels, plane % self.channels);
            for other in channel.saturating_sub(before)..(channel + after + 1).min(self.channels) {
                let from = (image * self.channels + other) * self.length;
                sums.iter_mut().enumerate().for_each(|(j, sum)| *sum += term(j, from));
            }
        });
        sums
    }
}

/// For each channel of [batch, channels, positions] the sum over itself and its neighbours.
fn window_sums(x: &Tensor, before: usize, after: usize) -> Result<Tensor, OpError> {
    let channels = x.dim(1)?;
    let padded = x.pad_with_zeros(1, before, after)?;
    let mut sum = padded.narrow(1, 0, channels)?;
    for start in 1..=before + after {
        sum = (sum + padded.narrow(1, start, channels)?)?;
    }
    Ok(sum)
}
