//! Elementwise functions with up to two numbers as attributes, and those that candle has not: a line of
//! value and slope each in [`ALL`], what they are made of on a device in [`crate::device::activation`].

use crate::device::activation;
use crate::kernels::{elementwise, math, slices};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{DType, Result as TensorResult, Tensor};
use refit_graph::{Fact, OpName};

/// One function, on float32 elements.
pub(crate) struct Activation {
    name: &'static str,
    /// Attributes and their defaults.
    parameters: &'static [(&'static str, f32)],
    /// Where the test problems take their elements from.
    domain: (f32, f32),
    value: fn(&Tensor, [f32; 2]) -> TensorResult<Tensor>,
    /// The gradient times the slope at the input.
    reverse: fn(&Tensor, &Tensor, [f32; 2]) -> TensorResult<Tensor>,
}

const ANY: (f32, f32) = (-2.0, 2.0);

/// `activation!(name, parameters, domain, |x, a, b| value, |x, a, b| slope)`.
macro_rules! activation {
    ($name:literal, $parameters:expr, $domain:expr,
     |$x:ident, $a:pat_param, $b:pat_param| $value:expr, |$s:ident, $c:pat_param, $d:pat_param| $slope:expr) => {
        Activation {
            name: $name,
            parameters: &$parameters,
            domain: $domain,
            value: |x, [$a, $b]| {
                elementwise::map(
                    x,
                    #[inline(always)]
                    |$x: f32| -> f32 { $value },
                )
            },
            reverse: |x, gradient, [$c, $d]| {
                elementwise::zip(
                    x,
                    gradient,
                    #[inline(always)]
                    |$s: f32, g: f32| -> f32 { g * $slope },
                )
            },
        }
    };
}

/// `alpha` and `gamma` of Klambauer et al. 2017.
const SELU: [(&str, f32); 2] = [("alpha", 1.673_263_2), ("gamma", 1.050_701)];

/// The functions. At a kink the slope is that of the left side, as in PyTorch.
pub(crate) static ALL: &[Activation] = &[
    activation!(
        "LeakyRelu",
        [("alpha", 0.01)],
        ANY,
        |x, a, _| if x > 0.0 { x } else { a * x },
        |x, a, _| if x > 0.0 { 1.0 } else { a }
    ),
    activation!(
        "Elu",
        [("alpha", 1.0)],
        ANY,
        |x, a, _| if x > 0.0 { x } else { a * x.exp_m1() },
        |x, a, _| if x > 0.0 { 1.0 } else { a * math::exp(x) }
    ),
    activation!(
        "Selu",
        SELU,
        ANY,
        |x, a, gamma| gamma * if x > 0.0 { x } else { a * x.exp_m1() },
        |x, a, gamma| gamma * if x > 0.0 { 1.0 } else { a * math::exp(x) }
    ),
    activation!(
        "Celu",
        [("alpha", 1.0)],
        ANY,
        |x, a, _| if x > 0.0 { x } else { a * (x / a).exp_m1() },
        |x, a, _| if x > 0.0 { 1.0 } else { math::exp(x / a) }
    ),
    activation!(
        "ThresholdedRelu",
        [("alpha", 1.0)],
        ANY,
        |x, a, _| if x > a { x } else { 0.0 },
        |x, a, _| if x > a { 1.0 } else { 0.0 }
    ),
    activation!(
        "Shrink",
        [("lambd", 0.5), ("bias", 0.0)],
        ANY,
        |x, lambda, bias| if x < -lambda {
            x + bias
        } else if x > lambda {
            x - bias
        } else {
            0.0
        },
        |x, lambda, _| if x.abs() > lambda { 1.0 } else { 0.0 }
    ),
    activation!(
        "HardSigmoid",
        [("alpha", 0.2), ("beta", 0.5)],
        (-4.0, 4.0),
        |x, a, b| (a * x + b).clamp(0.0, 1.0),
        |x, a, b| if a * x + b > 0.0 && a * x + b < 1.0 { a } else { 0.0 }
    ),
    activation!("HardSwish", [], (-4.0, 4.0), |x, _, _| x * (x / 6.0 + 0.5).clamp(0.0, 1.0), |x, _, _| if x
        <= -3.0
    {
        0.0
    } else if x < 3.0 {
        x / 3.0 + 0.5
    } else {
        1.0
    }),
    activation!("Swish", [("alpha", 1.0)], ANY, |x, a, _| x * sigmoid(a * x), |x, a, _| {
        let s = sigmoid(a * x);
        s + a * x * s * (1.0 - s)
    }),
    activation!("Mish", [], ANY, |x, _, _| x * softplus(x).tanh(), |x, _, _| {
        let t = softplus(x).tanh();
        t + x * (1.0 - t * t) * sigmoid(x)
    }),
    activation!("Softsign", [], ANY, |x, _, _| x / (1.0 + x.abs()), |x, _, _| {
        let scale = 1.0 / (1.0 + x.abs());
        scale * scale
    }),
    activation!("Tan", [], (-1.0, 1.0), |x, _, _| x.tan(), |x, _, _| 1.0 + x.tan() * x.tan()),
    activation!("Asin", [], (-0.8, 0.8), |x, _, _| x.asin(), |x, _, _| 1.0 / (1.0 - x * x).sqrt()),
    activation!("Acos", [], (-0.8, 0.8), |x, _, _| x.acos(), |x, _, _| -1.0 / (1.0 - x * x).sqrt()),
    activation!("Atan", [], ANY, |x, _, _| x.atan(), |x, _, _| 1.0 / (1.0 + x * x)),
    activation!("Sinh", [], ANY, |x, _, _| x.sinh(), |x, _, _| x.cosh()),
    activation!("Cosh", [], ANY, |x, _, _| x.cosh(), |x, _, _| x.sinh()),
    activation!("Asinh", [], ANY, |x, _, _| x.asinh(), |x, _, _| 1.0 / (x * x + 1.0).sqrt()),
    activation!("Acosh", [], (1.3, 3.0), |x, _, _| x.acosh(), |x, _, _| 1.0 / (x * x - 1.0).sqrt()),
    activation!("Atanh", [], (-0.8, 0.8), |x, _, _| x.atanh(), |x, _, _| 1.0 / (1.0 - x * x)),
];

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + math::exp(-x))
}

#[inline(always)]
fn softplus(x: f32) -> f32 {
    x.max(0.0) + math::exp(-x.abs()).ln_1p()
}

impl Operator for Activation {
    fn name(&self) -> OpName {
        OpName::standard(self.name)
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        if !slices::is_cpu(x)
            && let Some(functions) = activation::of(self.name)
        {
            let y = (functions.value)(&x.to_dtype(DType::F32)?, self.parameters(site).map(f64::from))?;
            return Ok(vec![y.to_dtype(x.dtype())?]);
        }
        let y = (self.value)(&host::floats(x)?, self.parameters(site))?;
        Ok(vec![y.to_dtype(x.dtype())?.to_device(x.device())?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, x) = (site.required(back.gradients, 0)?, site.required(back.inputs, 0)?);
        if !slices::is_cpu(x)
            && let Some(functions) = activation::of(self.name)
        {
            let slope = (functions.slope)(&x.to_dtype(DType::F32)?, self.parameters(site).map(f64::from))?;
            let dx = (gradient.to_dtype(DType::F32)? * slope)?;
            return Ok(vec![Some(dx.to_dtype(gradient.dtype())?)]);
        }
        let dx = (self.reverse)(&host::floats(x)?, &host::floats(gradient)?, self.parameters(site))?;
        Ok(vec![Some(dx.to_dtype(gradient.dtype())?.to_device(gradient.device())?)])
    }

    fn problems(&self) -> Vec<Problem> {
        let (low, high) = self.domain;
        let mut problems = vec![
            Problem::new("odd sizes").random_in(&[3, 7], low, high),
            Problem::new("no elements").random_in(&[0, 4], low, high),
        ];
        if !self.parameters.is_empty() {
            let given = Problem::new("given parameters").random_in(&[3, 7], low, high);
            let with = |problem: Problem, (index, (name, _)): (usize, &(&'static str, f32))| {
                problem.float(name, [0.7, 0.4][index])
            };
            problems.push(self.parameters.iter().enumerate().fold(given, with));
        }
        problems
    }
}

impl Activation {
    fn parameters(&self, site: &Site) -> [f32; 2] {
        let mut values = [0.0; 2];
        for (value, (name, default)) in values.iter_mut().zip(self.parameters) {
            *value = site.node.float(name).unwrap_or(*default);
        }
        values
    }
}
