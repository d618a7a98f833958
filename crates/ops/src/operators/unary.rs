//! Operators that work on each element alone: one line each in [`ALL`].

use crate::kernels::{elementwise, math, slices};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{DType, Result as TensorResult, Tensor};
use refit_graph::{Fact, OpName};

/// One elementwise function.
pub(crate) struct Unary {
    name: &'static str,
    forward: fn(&Tensor) -> TensorResult<Tensor>,
    derivative: Derivative,
    /// Whether integers have this function too.
    integers: bool,
    /// Where the test problems take their elements from.
    domain: (f32, f32),
}

/// The derivative, as a function of the input or of the result.
enum Derivative {
    OfInput(fn(&Tensor) -> TensorResult<Tensor>),
    OfOutput(fn(&Tensor) -> TensorResult<Tensor>),
    /// Zero wherever it exists.
    None,
}
use Derivative::{OfInput, OfOutput};

const ANY: (f32, f32) = (-2.0, 2.0);
const POSITIVE: (f32, f32) = (0.3, 2.0);
const TWO_OVER_SQRT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;

/// The elementwise functions of the standard.
pub(crate) static ALL: &[Unary] = &[
    unary("Abs", Tensor::abs, OfInput(sign), ANY).with_integers(),
    unary("Neg", Tensor::neg, OfInput(|x| x.ones_like()?.neg()), ANY).with_integers(),
    unary("Relu", relu, OfOutput(is_positive), ANY).with_integers(),
    unary("Sqrt", Tensor::sqrt, OfOutput(|y| y.recip()? * 0.5), POSITIVE),
    unary("Exp", Tensor::exp, OfOutput(|y| Ok(y.clone())), ANY),
    unary("Log", Tensor::log, OfInput(Tensor::recip), POSITIVE),
    unary("Sin", Tensor::sin, OfInput(Tensor::cos), ANY),
    unary("Cos", Tensor::cos, OfInput(|x| x.sin()?.neg()), ANY),
    unary("Tanh", Tensor::tanh, OfOutput(|y| y.sqr()?.affine(-1.0, 1.0)), ANY),
    unary("Sigmoid", sigmoid, OfOutput(|y| y * y.affine(-1.0, 1.0)?), ANY),
    unary("Softplus", softplus, OfInput(sigmoid), ANY),
    unary("Erf", erf, OfInput(|x| x.sqr()?.neg()?.exp()? * TWO_OVER_SQRT_PI), ANY),
    unary("Reciprocal", Tensor::recip, OfOutput(|y| y.sqr()?.neg()), POSITIVE),
    unary("Floor", Tensor::floor, Derivative::None, ANY),
    unary("Ceil", Tensor::ceil, Derivative::None, ANY),
    unary("Round", round_half_even, Derivative::None, ANY),
    unary("Sign", sign, Derivative::None, ANY).with_integers(),
];

const fn unary(
    name: &'static str,
    forward: fn(&Tensor) -> TensorResult<Tensor>,
    derivative: Derivative,
    domain: (f32, f32),
) -> Unary {
    Unary { name, forward, derivative, integers: false, domain }
}

impl Unary {
    const fn with_integers(mut self) -> Self {
        self.integers = true;
        self
    }
}

impl Operator for Unary {
    fn name(&self) -> OpName {
        OpName::standard(self.name)
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        if x.dtype().is_float() {
            return Ok(vec![(self.forward)(x)?]);
        }
        if !self.integers {
            return Err(site.refuse("floating point numbers were expected"));
        }
        // candle has unary functions for floats and int64 only in part: float64 is exact up to 2^53.
        Ok(vec![(self.forward)(&x.to_dtype(DType::F64)?)?.to_dtype(x.dtype())?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        match self.derivative {
            OfInput(_) => Reads::inputs(&[0]),
            OfOutput(_) => Reads::output(),
            Derivative::None => Reads::nothing(),
        }
    }

    fn differentiable(&self, _index: usize) -> bool {
        !matches!(self.derivative, Derivative::None)
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let derivative = match self.derivative {
            OfInput(derivative) => derivative(site.required(back.inputs, 0)?)?,
            OfOutput(derivative) => derivative(site.required(back.outputs, 0)?)?,
            Derivative::None => return Ok(vec![None]),
        };
        if !slices::is_cpu_f32(gradient) || !slices::is_cpu_f32(&derivative) {
            return Ok(vec![Some((gradient * derivative)?)]);
        }
        let product = elementwise::zip(
            gradient,
            &derivative,
            #[inline(always)]
            |g, d| g * d,
        )?;
        Ok(vec![Some(product)])
    }

    fn problems(&self) -> Vec<Problem> {
        let (low, high) = self.domain;
        vec![
            Problem::new("odd sizes").random_in(&[3, 5], low, high),
            Problem::new("no elements").random_in(&[0, 4], low, high),
            Problem::new("a scalar").random_in(&[], low, high),
        ]
    }
}

fn relu(x: &Tensor) -> TensorResult<Tensor> {
    if slices::is_cpu_f32(x) {
        return elementwise::map(
            x,
            #[inline(always)]
            |x| if x < 0.0 { 0.0 } else { x },
        );
    }
    x.relu()
}

/// 1 where a number is above 0, else 0.
fn is_positive(x: &Tensor) -> TensorResult<Tensor> {
    if slices::is_cpu_f32(x) {
        return elementwise::map(
            x,
            #[inline(always)]
            |x| f32::from(x > 0.0),
        );
    }
    x.gt(0f64)?.to_dtype(x.dtype())
}

fn sigmoid(x: &Tensor) -> TensorResult<Tensor> {
    if slices::is_cpu_f32(x) {
        return elementwise::map(
            x,
            #[inline(always)]
            |x| 1.0 / (1.0 + math::exp(-x)),
        );
    }
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// `max(x, 0) + log(1 + exp(-|x|))`, which does not overflow.
fn softplus(x: &Tensor) -> TensorResult<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

fn erf(x: &Tensor) -> TensorResult<Tensor> {
    if slices::is_cpu_f32(x) {
        return elementwise::map(
            x,
            #[inline(always)]
            |x| math::erf_and_exp(x).0,
        );
    }
    x.erf()
}

fn sign(x: &Tensor) -> TensorResult<Tensor> {
    x.gt(0f64)?.to_dtype(x.dtype())? - x.lt(0f64)?.to_dtype(x.dtype())?
}

/// Halves go to the even neighbour, as the standard asks.
fn round_half_even(x: &Tensor) -> TensorResult<Tensor> {
    let floor = x.floor()?;
    let fraction = (x - &floor)?;
    let odd = (&floor - ((&floor * 0.5)?.floor()? * 2.0)?)?;
    let above = fraction.gt(0.5f64)?.to_dtype(x.dtype())?;
    let half = (fraction.eq(0.5f64)?.to_dtype(x.dtype())? * odd)?;
    floor + (above + half)?
}
