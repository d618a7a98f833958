//! `LpNormalization`: `x / |x|_p` along an axis, p = 1 or 2; a row of zeros stays one.
//! `MeanVarianceNormalization`: mean 0 and variance 1 over axes.

use crate::shapes::{axes, axis};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Fact, OpName};

pub(crate) struct LpNormalization;

impl Operator for LpNormalization {
    fn name(&self) -> OpName {
        OpName::standard("LpNormalization")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        Ok(vec![x.broadcast_mul(&inverse_norm(site, x)?)?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Some(Reads { inputs: vec![0], outputs: vec![0] })
    }

    /// `(g - d|x| * sum(g * y)) / |x|`, where `d|x|` is `y` or the sign of `x`.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let (x, y) = (site.required(back.inputs, 0)?, site.required(back.outputs, 0)?);
        let along = axis(site, site.node.int("axis").unwrap_or(-1), x.rank())?;
        let slope = if power(site)? == 2 { y.clone() } else { sign(x)? };
        let sum = (gradient * y)?.sum_keepdim(along)?;
        let dx = (gradient - slope.broadcast_mul(&sum)?)?.broadcast_mul(&inverse_norm(site, x)?)?;
        Ok(vec![Some(dx)])
    }

    fn problems(&self) -> Vec<Problem> {
        let x = |what, shape: &[usize]| Problem::new(what).random_in(shape, 0.3, 1.3);
        vec![
            x("p = 2", &[3, 5]),
            x("p = 2, another axis", &[2, 3, 4]).int("axis", 1),
            x("p = 1", &[3, 5]).int("p", 1),
            x("an empty batch", &[0, 5]),
        ]
    }
}

fn power(site: &Site) -> Result<i64, OpError> {
    match site.node.int("p").unwrap_or(2) {
        p @ (1 | 2) => Ok(p),
        p => {
            let why = format!("{p} is neither 1 nor 2");
            Err(OpError::Attribute { op: site.node.op.clone(), name: "p", why })
        }
    }
}

fn sign(x: &Tensor) -> candle_core::Result<Tensor> {
    x.gt(0f64)?.to_dtype(x.dtype())? - x.lt(0f64)?.to_dtype(x.dtype())?
}

/// One over the norm; 0 where that is 0.
fn inverse_norm(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    let along = axis(site, site.node.int("axis").unwrap_or(-1), x.rank())?;
    let norm = match power(site)? {
        1 => x.abs()?.sum_keepdim(along)?,
        _ => x.sqr()?.sum_keepdim(along)?.sqrt()?,
    };
    let zeros = norm.zeros_like()?;
    Ok(norm.eq(&zeros)?.where_cond(&zeros, &norm.recip()?)?)
}

pub(crate) struct MeanVarianceNormalization;

impl Operator for MeanVarianceNormalization {
    fn name(&self) -> OpName {
        OpName::standard("MeanVarianceNormalization")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (normal, _) = normalize(site, site.required(inputs, 0)?)?;
        Ok(vec![normal])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, x) = (site.required(back.gradients, 0)?, site.required(back.inputs, 0)?);
        let (normal, inverse) = normalize(site, x)?;
        let along = normal.broadcast_mul(&mean(site, &(gradient * &normal)?)?)?;
        let dx = (gradient.broadcast_sub(&mean(site, gradient)?)? - along)?.broadcast_mul(&inverse)?;
        Ok(vec![Some(dx)])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("space and batch").random(&[2, 3, 2, 4]),
            Problem::new("one axis").random(&[3, 5]).ints("axes", &[-1]),
        ]
    }
}

fn mean(site: &Site, x: &Tensor) -> Result<Tensor, OpError> {
    let axes = axes(site, site.node.ints("axes").unwrap_or(&[0, 2, 3]), x.rank())?;
    let count: usize = axes.iter().map(|axis| x.dims()[*axis]).product();
    Ok((x.sum_keepdim(axes)? / count.max(1) as f64)?)
}

/// The normalized elements, and one over their deviation.
fn normalize(site: &Site, x: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    let centred = x.broadcast_sub(&mean(site, x)?)?;
    let inverse = (mean(site, &centred.sqr()?)?.sqrt()? + 1e-9)?.recip()?;
    Ok((centred.broadcast_mul(&inverse)?, inverse))
}
