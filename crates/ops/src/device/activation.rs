//! Values and slopes of the functions that `operators::activation` has kernels for, and of those that only
//! recurrent operators name. Of arc functions there are none: candle has nothing to make them of.

use candle_core::{Result, Tensor};

type Function = fn(&Tensor, [f64; 2]) -> Result<Tensor>;

/// A function of a float32 tensor and two parameters, and its derivative.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    pub value: Function,
    pub slope: Function,
}

/// The function that the standard gives this name, if candle has what it is made of.
pub(crate) fn of(name: &str) -> Option<Functions> {
    let (value, slope): (Function, Function) = match name {
        "LeakyRelu" => (
            |x, [a, _]| above(x, 0.0)?.where_cond(x, &(x * a)?),
            |x, [a, _]| steps(x, 0.0)?.affine(1.0 - a, a),
        ),
        "Elu" => (|x, [a, _]| elu(x, a, 1.0), |x, [a, _]| elu_slope(x, a, 1.0)),
        "Selu" => (|x, [a, gamma]| elu(x, a, 1.0)? * gamma, |x, [a, gamma]| elu_slope(x, a, 1.0)? * gamma),
        "Celu" => (|x, [a, _]| elu(x, a, a), |x, [a, _]| elu_slope(x, 1.0, a)),
        "ThresholdedRelu" => {
            (|x, [a, _]| above(x, a)?.where_cond(x, &x.zeros_like()?), |x, [a, _]| steps(x, a))
        }
        "Shrink" => (
            |x, [lambda, bias]| {
                let inner = above(x, lambda)?.where_cond(&(x - bias)?, &x.zeros_like()?)?;
                x.lt(-lambda)?.where_cond(&(x + bias)?, &inner)
            },
            |x, [lambda, _]| steps(&x.abs()?, lambda),
        ),
        "HardSigmoid" => (
            |x, [a, b]| x.affine(a, b)?.clamp(0.0, 1.0),
            |x, [a, b]| {
                let y = x.affine(a, b)?;
                (steps(&y, 0.0)? * y.lt(1.0)?.to_dtype(x.dtype())?)? * a
            },
        ),
        "HardSwish" => (
            |x, _| x * x.affine(1.0 / 6.0, 0.5)?.clamp(0.0, 1.0)?,
            |x, _| {
                let middle = steps(x, -3.0)? * x.affine(1.0 / 3.0, 0.5)?;
                x.lt(3.0)?.where_cond(&middle?, &x.ones_like()?)
            },
        ),
        "Swish" => (
            |x, [a, _]| x * sigmoid(&(x * a)?)?,
            |x, [a, _]| {
                let s = sigmoid(&(x * a)?)?;
                let through = (x * (&s * s.affine(-1.0, 1.0)?)?)? * a;
                s + through?
            },
        ),
        "Mish" => (
            |x, _| x * softplus(x)?.tanh()?,
            |x, _| {
                let t = softplus(x)?.tanh()?;
                let through = (x * t.sqr()?.affine(-1.0, 1.0)?)? * sigmoid(x)?;
                t + through?
            },
        ),
        "Softsign" => (|x, _| x / (x.abs()? + 1.0)?, |x, _| (x.abs()? + 1.0)?.sqr()?.recip()),
        "Tan" => (tan, |x, none| tan(x, none)?.sqr()? + 1.0),
        // A difference of exponentials would lose digits near 0.
        "Sinh" => (sinh, cosh),
        "Cosh" => (cosh, sinh),
        "Asinh" => (asinh, |x, _| (x.sqr()? + 1.0)?.sqrt()?.recip()),
        "Acosh" => (|x, _| (x + (x.sqr()? - 1.0)?.sqrt()?)?.log(), |x, _| (x.sqr()? - 1.0)?.sqrt()?.recip()),
        "Atanh" => (
            |x, _| ((x + 1.0)? / x.affine(-1.0, 1.0)?)?.log()? * 0.5,
            |x, _| x.sqr()?.affine(-1.0, 1.0)?.recip(),
        ),
        "Affine" => (|x, [a, b]| x.affine(a, b), |x, [a, _]| x.affine(0.0, a)),
        "Relu" => (|x, _| x.relu(), |x, _| steps(x, 0.0)),
        "ScaledTanh" => {
            (|x, [a, b]| (x * b)?.tanh()? * a, |x, [a, b]| (x * b)?.tanh()?.sqr()?.affine(-a * b, a * b))
        }
        "Sigmoid" => (
            |x, _| sigmoid(x),
            |x, _| {
                let s = sigmoid(x)?;
                &s * s.affine(-1.0, 1.0)?
            },
        ),
        "Softplus" => (|x, _| softplus(x), |x, _| sigmoid(x)),
        "Tanh" => (|x, _| x.tanh(), |x, _| x.tanh()?.sqr()?.affine(-1.0, 1.0)),
        _ => return None,
    };
    Some(Functions { value, slope })
}

/// Where `x` lies above a number, uint8.
fn above(x: &Tensor, than: f64) -> Result<Tensor> {
    x.gt(than)
}

/// 1 above a number, else 0.
fn steps(x: &Tensor, from: f64) -> Result<Tensor> {
    above(x, from)?.to_dtype(x.dtype())
}

/// `x` above 0, else `a (exp(x / width) - 1)`.
fn elu(x: &Tensor, a: f64, width: f64) -> Result<Tensor> {
    let below = ((x.minimum(0f64)? / width)?.exp()? - 1.0)?;
    x.relu()? + (below * a)?
}

/// 1 above 0, else `a exp(x / width)`.
fn elu_slope(x: &Tensor, a: f64, width: f64) -> Result<Tensor> {
    let below = ((x.minimum(0f64)? / width)?.exp()? * a)?;
    above(x, 0.0)?.where_cond(&x.ones_like()?, &below)
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// `max(x, 0) + log(1 + exp(-|x|))`, which does not overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// Of the absolute value, so that no digits are lost below 0.
fn asinh(x: &Tensor, _: [f64; 2]) -> Result<Tensor> {
    let size = x.abs()?;
    let log = (&size + (size.sqr()? + 1.0)?.sqrt()?)?.log()?;
    log * x.sign()?
}

fn tan(x: &Tensor, _: [f64; 2]) -> Result<Tensor> {
    x.sin()? / x.cos()?
}

fn cosh(x: &Tensor, _: [f64; 2]) -> Result<Tensor> {
    (x.exp()? + x.neg()?.exp()?)? * 0.5
}

fn sinh(x: &Tensor, none: [f64; 2]) -> Result<Tensor> {
    x.tanh()? * cosh(x, none)?
}
