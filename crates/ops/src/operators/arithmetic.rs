//! `Add`, `Sub`, `Mul`, `Div`: two inputs, broadcast against each other.

use crate::kernels::{elementwise, slices};
use crate::shapes::{broadcast_facts, broadcast_sizes, broadcast_to, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{DType, Tensor};
use refit_graph::{Dim, Fact, OpName};

/// One of the four operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the standard's own names")]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}
use Arithmetic::{Add, Div, Mul, Sub};

impl Operator for Arithmetic {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Add => "Add",
            Sub => "Sub",
            Mul => "Mul",
            Div => "Div",
        })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (inputs.fact(0), inputs.fact(1));
        let elements = match (&a.elements, &b.elements) {
            (Some(a), Some(b)) if a.len() == b.len() || a.len() == 1 || b.len() == 1 => {
                let count = a.len().max(b.len());
                let at = |dims: &[Dim], i: usize| dims[if dims.len() == 1 { 0 } else { i }].clone();
                Some((0..count).map(|i| self.of_dims(&at(a, i), &at(b, i))).collect())
            }
            _ => None,
        };
        let dtype = a.dtype.or(b.dtype);
        Ok(vec![Fact { dtype, shape: broadcast_facts(site, &[a, b])?, elements }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        if a.dtype() != b.dtype() {
            return Err(site.refuse(format!("types {:?} and {:?} differ", a.dtype(), b.dtype())));
        }
        let shape = broadcast_sizes(site, a.dims(), b.dims())?;
        if slices::is_cpu_f32(a) && slices::is_cpu_f32(b) {
            return Ok(vec![self.on_cpu(a, b, &shape)?]);
        }
        if *self == Div && !a.dtype().is_float() {
            return Ok(vec![divide_integers(site, a, b, &shape)?]);
        }
        let (a, b) = (broadcast_to(a, &shape)?, broadcast_to(b, &shape)?);
        Ok(vec![match self {
            Add => (a + b)?,
            Sub => (a - b)?,
            Mul => (a * b)?,
            Div => (a / b)?,
        }])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        match (self, wanted) {
            (Add | Sub, _) => Reads::nothing(),
            (Mul, [true, false]) | (Div, [true, false]) => Reads::inputs(&[1]),
            (Mul, [false, true]) => Reads::inputs(&[0]),
            _ => Reads::inputs(&[0, 1]),
        }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let input = |index: usize| site.required(back.inputs, index);
        let apply = |op: Arithmetic, a: &Tensor, b: &Tensor| -> Result<Tensor, OpError> {
            let mut made = op.forward(site, &[Some(a.clone()), Some(b.clone())])?;
            Ok(made.swap_remove(0))
        };
        let left = match (back.wants(0), self) {
            (false, _) => None,
            (_, Add | Sub) => Some(gradient.clone()),
            (_, op) => Some(apply(*op, gradient, input(1)?)?),
        };
        let right = match (back.wants(1), self) {
            (false, _) => None,
            (_, Add) => Some(gradient.clone()),
            (_, Sub) => Some(gradient.neg()?),
            (_, Mul) => Some(apply(Mul, gradient, input(0)?)?),
            (_, Div) => {
                let slope = apply(Div, &input(0)?.neg()?, &input(1)?.sqr()?)?;
                Some(apply(Mul, gradient, &slope)?)
            }
        };
        let sum = |gradient: Option<Tensor>, index: usize| {
            gradient.map(|gradient| sum_to(&gradient, &back.input_shapes[index])).transpose()
        };
        Ok(vec![sum(left, 0)?, sum(right, 1)?])
    }

    fn problems(&self) -> Vec<Problem> {
        broadcast_problems(0.5, 2.0)
    }
}

/// Pairs of shapes that broadcast in every way, elements between `low` and `high`.
pub(super) fn broadcast_problems(low: f32, high: f32) -> Vec<Problem> {
    let pair =
        |what, a: &[usize], b: &[usize]| Problem::new(what).random_in(a, low, high).random_in(b, low, high);
    vec![
        pair("equal shapes", &[3, 5], &[3, 5]),
        pair("a row repeated", &[2, 3, 5], &[5]),
        pair("columns repeated", &[2, 3, 5], &[2, 3, 1]),
        pair("both repeated", &[3, 1], &[2, 1, 4]),
        pair("a scalar", &[], &[2, 3]),
        pair("an empty batch", &[0, 3], &[1, 3]),
    ]
}

impl Arithmetic {
    /// The operation on float32 elements.
    fn on_cpu(self, a: &Tensor, b: &Tensor, shape: &[usize]) -> Result<Tensor, OpError> {
        macro_rules! each {
            ($f:expr) => {{
                let repeats = a.dims() == shape && is_suffix(shape, b.dims());
                if repeats && a.dims() != b.dims() {
                    elementwise::zip_repeated(a, b, $f)?
                } else {
                    elementwise::zip(&broadcast_to(a, shape)?, &broadcast_to(b, shape)?, $f)?
                }
            }};
        }
        Ok(match self {
            Add => each!(
                #[inline(always)]
                |a, b| a + b
            ),
            Sub => each!(
                #[inline(always)]
                |a, b| a - b
            ),
            Mul => each!(
                #[inline(always)]
                |a, b| a * b
            ),
            Div => each!(
                #[inline(always)]
                |a, b| a / b
            ),
        })
    }

    /// The operation on dimensions.
    fn of_dims(self, a: &Dim, b: &Dim) -> Dim {
        match (self, a, b) {
            (Add, Dim::Known(a), Dim::Known(b)) => a.checked_add(*b).map_or(Dim::Unknown, Dim::Known),
            (Sub, Dim::Known(a), Dim::Known(b)) => a.checked_sub(*b).map_or(Dim::Unknown, Dim::Known),
            (Mul, Dim::Known(a), Dim::Known(b)) => a.checked_mul(*b).map_or(Dim::Unknown, Dim::Known),
            (Div, Dim::Known(a), Dim::Known(b)) => a.checked_div(*b).map_or(Dim::Unknown, Dim::Known),
            (Add, a, Dim::Known(0)) | (Add, Dim::Known(0), a) | (Sub, a, Dim::Known(0)) => a.clone(),
            (Mul, a, Dim::Known(1)) | (Mul, Dim::Known(1), a) | (Div, a, Dim::Known(1)) => a.clone(),
            _ => Dim::Unknown,
        }
    }
}

/// Whether `part`, without leading ones, is the end of `shape`, so that it repeats as a block.
fn is_suffix(shape: &[usize], part: &[usize]) -> bool {
    let first = part.iter().position(|size| *size != 1).unwrap_or(part.len());
    let part = &part[first..];
    !shape.contains(&0) && shape.ends_with(part)
}

/// Truncating division, as the standard says for integers.
fn divide_integers(site: &Site, a: &Tensor, b: &Tensor, shape: &[usize]) -> Result<Tensor, OpError> {
    let elements = |tensor: &Tensor| -> Result<Vec<i64>, OpError> {
        Ok(broadcast_to(tensor, shape)?.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?)
    };
    let quotients: Option<Vec<i64>> =
        elements(a)?.into_iter().zip(elements(b)?).map(|(a, b)| a.checked_div(b)).collect();
    let quotients = quotients.ok_or_else(|| site.refuse("an integer is divided by zero"))?;
    Ok(Tensor::from_vec(quotients, shape, a.device())?.to_dtype(a.dtype())?)
}
