//! `ConvInteger(x, w, x_zero?, w_zero?)` and
//! `QLinearConv(x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias?)`.

use super::{integers, range, saturate};
use crate::shapes::shaped;
use crate::windows::{Windows, three};
use crate::{Known, OpError, Operator, Site, find, host};
use candle_core::Tensor;
use refit_graph::{DType, Fact, OpName};

/// Which of the two convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConvInteger {
    Plain,
    Scaled,
}

impl Operator for ConvInteger {
    fn name(&self) -> OpName {
        OpName::standard(if *self == Self::Plain { "ConvInteger" } else { "QLinearConv" })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        // The shape is that of a convolution of real numbers.
        let weight = self.weight();
        let known = Known {
            facts: vec![inputs.facts.first().copied().flatten(), inputs.facts.get(weight).copied().flatten()],
            constants: vec![None, None],
        };
        let conv = find(&OpName::standard("Conv"), site.opset).map(|conv| conv.infer(site, &known));
        let shape = conv.transpose()?.and_then(|facts| facts.into_iter().next()).and_then(|fact| fact.shape);
        let dtype = if *self == Self::Plain { Some(DType::I32) } else { inputs.dtype(7) };
        Ok(vec![shaped(dtype, shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, w) = (site.required(inputs, 0)?, site.required(inputs, self.weight())?);
        let optional =
            |index: usize| inputs.get(index).and_then(Option::as_ref).map(host::numbers).transpose();
        let (x_zero, w_zero) = match self {
            Self::Plain => (optional(2)?, optional(3)?),
            Self::Scaled => (optional(2)?, optional(5)?),
        };
        let space = Space::new(site, x.dims(), w.dims())?;
        let (mut x_values, mut w_values) = (host::numbers(x)?, host::numbers(w)?);
        if let Some([zero]) = x_zero.as_deref() {
            x_values.iter_mut().for_each(|x| *x -= zero);
        }
        let of_filter = space.channels * space.kernel.iter().product::<usize>();
        for (index, w) in w_values.iter_mut().enumerate() {
            *w -= w_zero.as_deref().map_or(0.0, |zero| of_channel(zero, index / of_filter.max(1)));
        }
        let mut sums = space.sums(&x_values, &w_values);
        if *self == Self::Scaled {
            let limits = range(site.output_type(0)?)?;
            let given = |index| Ok::<_, OpError>(optional(index)?.unwrap_or_else(|| vec![0.0]));
            let (x_scale, w_scale, y_scale, y_zero) = (given(1)?, given(4)?, given(6)?, given(7)?);
            let bias = given(8)?;
            let plane: usize = space.output.iter().product();
            for (place, sum) in sums.iter_mut().enumerate() {
                let channel = place / plane.max(1) % space.filters;
                let factor =
                    of_channel(&x_scale, 0) * of_channel(&w_scale, channel) / of_channel(&y_scale, 0);
                *sum =
                    saturate((*sum + of_channel(&bias, channel)) * factor + of_channel(&y_zero, 0), limits);
            }
        }
        Ok(vec![integers(site, 0, sums, &space.shape, x.device())?])
    }
}

impl ConvInteger {
    fn weight(self) -> usize {
        if self == Self::Plain { 1 } else { 3 }
    }
}

fn of_channel(values: &[f64], channel: usize) -> f64 {
    values.get(channel).or(values.first()).copied().unwrap_or(0.0)
}

/// Sizes of a convolution with up to three spatial dimensions, leading ones of 1.
struct Space {
    shape: Vec<usize>,
    batch: usize,
    /// Input channels of one group.
    channels: usize,
    filters: usize,
    groups: usize,
    input: [usize; 3],
    output: [usize; 3],
    kernel: [usize; 3],
    strides: [usize; 3],
    dilations: [usize; 3],
    before: [usize; 3],
}

impl Space {
    fn new(site: &Site, x: &[usize], w: &[usize]) -> Result<Self, OpError> {
        let groups = usize::try_from(site.node.int("group").unwrap_or(1)).unwrap_or(0);
        let fits = x.len() > 2 && x.len() == w.len() && groups > 0;
        if !fits || x[1] != w[1] * groups || !w[0].is_multiple_of(groups) {
            return Err(site.refuse(format!("filters of {w:?} in {groups} groups do not fit {x:?}")));
        }
        let windows = Windows::new(site, w[2..].to_vec())?;
        let spans = windows.spans(site, &x[2..])?;
        let output: Vec<usize> = spans.iter().map(|span| span.output).collect();
        let before: Vec<usize> = spans.iter().map(|span| span.before).collect();
        Ok(Self {
            shape: [&[x[0], w[0]], output.as_slice()].concat(),
            batch: x[0],
            channels: w[1],
            filters: w[0],
            groups,
            input: three(site, &x[2..], 1)?,
            output: three(site, &output, 1)?,
            kernel: three(site, &w[2..], 1)?,
            strides: three(site, &windows.strides, 1)?,
            dilations: three(site, &windows.dilations, 1)?,
            before: three(site, &before, 0)?,
        })
    }

    /// The convolution, exact: no sum of 8-bit products comes near 2^53.
    fn sums(&self, x: &[f64], w: &[f64]) -> Vec<f64> {
        let (plane, taps): (usize, usize) = (self.output.iter().product(), self.kernel.iter().product());
        let mut sums = vec![0.0; self.batch * self.filters * plane];
        for (place, sum) in sums.iter_mut().enumerate() {
            let (filter, image) = (place / plane % self.filters, place / plane / self.filters);
            let first = filter / (self.filters / self.groups) * self.channels;
            for tap in 0..taps {
                let Some(at) = self.input_at(place % plane, tap) else { continue };
                for channel in 0..self.channels {
                    let size: usize = self.input.iter().product();
                    let source = (image * self.channels * self.groups + first + channel) * size + at;
                    *sum += x[source] * w[(filter * self.channels + channel) * taps + tap];
                }
            }
        }
        sums
    }

    /// The input position that a tap of the kernel meets at an output position; `None` in the padding.
    fn input_at(&self, output: usize, tap: usize) -> Option<usize> {
        let split = |at: usize, sizes: [usize; 3]| {
            [at / (sizes[1] * sizes[2]), at / sizes[2] % sizes[1], at % sizes[2]]
        };
        let (out, tap) = (split(output, self.output), split(tap, self.kernel));
        let mut at = 0;
        for axis in 0..3 {
            let padded = out[axis] * self.strides[axis] + tap[axis] * self.dilations[axis];
            let position = padded.checked_sub(self.before[axis]).filter(|p| *p < self.input[axis])?;
            at = at * self.input[axis] + position;
        }
        Some(at)
    }
}
