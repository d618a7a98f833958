//! `CumProd(x, axis)`: running products, `exclusive` of the element itself and in `reverse` if asked.

use crate::shapes::{axis, integers};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{Device, Tensor};
use refit_graph::{Fact, OpName};

pub(crate) struct CumProd;

impl Operator for CumProd {
    fn name(&self) -> OpName {
        OpName::standard("CumProd")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let lines = Lines::new(site, x.dims(), inputs)?;
        let values = host::numbers(x)?;
        let mut products = vec![0.0; values.len()];
        lines.each(|places| {
            for (at, factors) in lines.factors(places) {
                products[at] = factors.iter().map(|factor| values[*factor]).product();
            }
        });
        let made = Tensor::from_vec(products, x.dims(), &Device::Cpu)?;
        Ok(vec![made.to_dtype(x.dtype())?.to_device(x.device())?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    /// Each factor of each product gets the product of the others: no division, so zeros are right too.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, x) = (site.required(back.gradients, 0)?, site.required(back.inputs, 0)?);
        let lines = Lines::new(site, x.dims(), back.inputs)?;
        let (values, slopes) = (host::numbers(x)?, host::numbers(gradient)?);
        let mut sums = vec![0.0; values.len()];
        lines.each(|places| {
            for (at, factors) in lines.factors(places) {
                let mut before = 1.0;
                for (index, factor) in factors.iter().enumerate() {
                    let after: f64 = factors[index + 1..].iter().map(|other| values[*other]).product();
                    sums[*factor] += slopes[at] * before * after;
                    before *= values[*factor];
                }
            }
        });
        let made = Tensor::from_vec(sums, x.dims(), &Device::Cpu)?;
        Ok(vec![Some(made.to_dtype(x.dtype())?.to_device(x.device())?), None])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("plain").random(&[2, 5]).integers(&[], &[1]),
            Problem::new("a zero among the factors").floats(&[4], &[0.5, 0.0, 2.0, -1.0]).integers(&[], &[0]),
            Problem::new("exclusive and reversed")
                .random(&[3, 2])
                .integers(&[], &[-2])
                .int("exclusive", 1)
                .int("reverse", 1),
            Problem::new("no elements").random(&[0, 3]).integers(&[], &[1]),
        ]
    }
}

/// The lines of a tensor along one axis, as positions of their elements in the order of the products.
struct Lines {
    outer: usize,
    size: usize,
    inner: usize,
    reverse: bool,
    exclusive: bool,
}

impl Lines {
    fn new(site: &Site, shape: &[usize], inputs: &[Option<Tensor>]) -> Result<Self, OpError> {
        let numbers = integers(site, site.required(inputs, 1)?)?;
        let along = axis(site, numbers.first().copied().unwrap_or(0), shape.len())?;
        let flag = |name| site.node.int(name).unwrap_or(0) != 0;
        Ok(Self {
            outer: shape[..along].iter().product(),
            size: shape[along],
            inner: shape[along + 1..].iter().product(),
            reverse: flag("reverse"),
            exclusive: flag("exclusive"),
        })
    }

    fn each(&self, mut f: impl FnMut(&[usize])) {
        for line in 0..self.outer * self.inner {
            let start = line / self.inner * self.size * self.inner + line % self.inner;
            let mut places: Vec<usize> = (0..self.size).map(|step| start + step * self.inner).collect();
            if self.reverse {
                places.reverse();
            }
            f(&places);
        }
    }

    /// Each product of a line: where it goes, and its factors.
    fn factors<'a>(&self, places: &'a [usize]) -> impl Iterator<Item = (usize, &'a [usize])> + use<'a> {
        let own = usize::from(!self.exclusive);
        places.iter().enumerate().map(move |(step, at)| (*at, &places[..step + own]))
    }
}
