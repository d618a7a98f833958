//! `Pow(x, y)`: x to the power of y, broadcast; the result has the type of x.

use super::arithmetic::broadcast_problems;
use crate::kernels::{elementwise, slices};
use crate::shapes::{broadcast_facts, broadcast_sizes, broadcast_to, shaped, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{DType, Tensor};
use refit_graph::{Fact, OpName};

pub(crate) struct Pow;

impl Operator for Pow {
    fn name(&self) -> OpName {
        OpName::standard("Pow")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let shape = broadcast_facts(site, &[inputs.fact(0), inputs.fact(1)])?;
        Ok(vec![shaped(inputs.dtype(0), shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, y) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let shape = broadcast_sizes(site, x.dims(), y.dims())?;
        Ok(vec![power(&broadcast_to(x, &shape)?, &broadcast_to(y, &shape)?)?])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        match wanted {
            [_, true] => Some(Reads { inputs: vec![0, 1], outputs: vec![0] }),
            _ => Reads::inputs(&[0, 1]),
        }
    }

    /// `dx = g y x^(y-1)`, `dy = g x^y ln x`.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let (x, y) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        let shape = gradient.dims();
        let (x, y) = (broadcast_to(x, shape)?, broadcast_to(&y.to_dtype(x.dtype())?, shape)?);
        let mut gradients = vec![None, None];
        if back.wants(0) {
            let slope = (power(&x, &(&y - 1.0)?)? * &y)?;
            gradients[0] = Some(sum_to(&(gradient * slope)?, &back.input_shapes[0])?);
        }
        if back.wants(1) {
            let slope = (x.log()? * site.required(back.outputs, 0)?)?;
            gradients[1] = Some(sum_to(&(gradient * slope)?, &back.input_shapes[1])?);
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = broadcast_problems(0.5, 2.0);
        problems.push(Problem::new("squares of negatives").random(&[3, 4]).integers(&[], &[2]));
        problems
    }
}

fn power(x: &Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    if slices::is_cpu_f32(x) && slices::is_cpu_f32(y) {
        return Ok(elementwise::zip(x, y, f32::powf)?);
    }
    if x.device().is_cpu() {
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let powers: Vec<f64> = double(x)?.into_iter().zip(double(y)?).map(|(x, y)| x.powf(y)).collect();
        return Ok(Tensor::from_vec(powers, x.dims(), x.device())?.to_dtype(x.dtype())?);
    }
    // exp(y ln |x|), with the sign that an odd power of a negative has.
    let y = y.to_dtype(x.dtype())?;
    let magnitude = (x.abs()?.log()? * &y)?.exp()?;
    let odd = (&y - ((&y * 0.5)?.floor()? * 2.0)?)?;
    let sign = (x.lt(0f64)?.to_dtype(x.dtype())? * odd)?.affine(-2.0, 1.0)?;
    Ok((magnitude * sign)?)
}
