//! `Mod(a, b)`: the remainder, with the sign of the divisor, or of the dividend where `fmod` is set.

use crate::shapes::{broadcast_facts, broadcast_sizes, broadcast_to, shaped, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{Device, Tensor};
use refit_graph::{Fact, OpName};

pub(crate) struct Mod;

impl Operator for Mod {
    fn name(&self) -> OpName {
        OpName::standard("Mod")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let facts = [inputs.fact(0), inputs.fact(1)];
        Ok(vec![shaped(facts[0].dtype.or(facts[1].dtype), broadcast_facts(site, &facts)?)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let shape = broadcast_sizes(site, a.dims(), b.dims())?;
        let (wide_a, wide_b) = (broadcast_to(a, &shape)?, broadcast_to(b, &shape)?);
        let truncates = truncates(site);
        let made = if a.dtype().is_float() {
            let rest = |(a, b): (f64, f64)| {
                let rest = a % b;
                let other_side = !truncates && rest != 0.0 && (rest < 0.0) != (b < 0.0);
                if other_side { rest + b } else { rest }
            };
            let values = host::numbers(&wide_a)?.into_iter().zip(host::numbers(&wide_b)?).map(rest);
            Tensor::from_vec(values.collect::<Vec<f64>>(), shape, &Device::Cpu)?
        } else {
            let rest = |(a, b): (i64, i64)| {
                let rest = a.checked_rem(b)?;
                let other_side = !truncates && rest != 0 && (rest < 0) != (b < 0);
                Some(if other_side { rest + b } else { rest })
            };
            let values = host::integers(&wide_a)?.into_iter().zip(host::integers(&wide_b)?).map(rest);
            let values: Option<Vec<i64>> = values.collect();
            let values = values.ok_or_else(|| site.refuse("an integer is divided by zero"))?;
            Tensor::from_vec(values, shape, &Device::Cpu)?
        };
        Ok(vec![made.to_dtype(a.dtype())?.to_device(a.device())?])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        if wanted.get(1) == Some(&true) { Reads::inputs(&[0, 1]) } else { Reads::nothing() }
    }

    /// `a - q b` with a whole number `q`.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let left = back.wants(0).then(|| sum_to(gradient, &back.input_shapes[0])).transpose()?;
        if !back.wants(1) {
            return Ok(vec![left, None]);
        }
        let (a, b) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        let ratio = (broadcast_to(a, gradient.dims())? / broadcast_to(b, gradient.dims())?)?;
        let floor = ratio.floor()?;
        let whole = match truncates(site) {
            true => ratio.lt(&ratio.zeros_like()?)?.where_cond(&ratio.ceil()?, &floor)?,
            false => floor,
        };
        let right = (gradient * whole)?.neg()?;
        Ok(vec![left, Some(sum_to(&right, &back.input_shapes[1])?)])
    }

    fn problems(&self) -> Vec<Problem> {
        let pair =
            |what| Problem::new(what).floats(&[5], &[2.3, -2.3, 0.4, -5.1, 7.7]).floats(&[2, 1], &[1.5, 2.1]);
        vec![pair("sign of the dividend").int("fmod", 1), pair("sign of the divisor")]
    }
}

fn truncates(site: &Site) -> bool {
    site.node.int("fmod").unwrap_or(0) != 0
}
