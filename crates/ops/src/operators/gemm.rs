//! `Gemm(a, b, c?)`: `alpha * a' b' + beta * c`, where `transA` and `transB` transpose.

use super::matmul::multiply;
use crate::shapes::{broadcast_to, of_type, shaped, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Fact, OpName};

pub(crate) struct Gemm;

impl Operator for Gemm {
    fn name(&self) -> OpName {
        OpName::standard("Gemm")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (inputs.fact(0), inputs.fact(1));
        let (Some(left), Some(right)) = (&a.shape, &b.shape) else { return Ok(vec![of_type(a.dtype)]) };
        let ([_, _], [_, _]) = (left.as_slice(), right.as_slice()) else {
            return Err(site.refuse("two matrices were expected"));
        };
        let rows = left[usize::from(is_set(site, "transA"))].clone();
        let columns = right[1 - usize::from(is_set(site, "transB"))].clone();
        Ok(vec![shaped(a.dtype, Some(vec![rows, columns]))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        if a.rank() != 2 || b.rank() != 2 {
            return Err(site.refuse("two matrices were expected"));
        }
        let product = multiply(site, &flip(a, is_set(site, "transA"))?, &flip(b, is_set(site, "transB"))?)?;
        let mut y = scale(&product, factor(site, "alpha"))?;
        if let Some(Some(c)) = inputs.get(2) {
            let c = broadcast_to(&scale(c, factor(site, "beta"))?, y.dims())?;
            y = (y + c)?;
        }
        Ok(vec![y])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let scaled = scale(gradient, factor(site, "alpha"))?;
        let mut gradients = vec![None; back.input_shapes.len()];
        if back.wants(0) {
            let b = flip(site.required(back.inputs, 1)?, !is_set(site, "transB"))?;
            let da = multiply(site, &scaled, &b)?;
            gradients[0] = Some(flip(&da, is_set(site, "transA"))?);
        }
        if back.wants(1) {
            let a = flip(site.required(back.inputs, 0)?, !is_set(site, "transA"))?;
            let db = multiply(site, &a, &scaled)?;
            gradients[1] = Some(flip(&db, is_set(site, "transB"))?);
        }
        if back.wants(2) {
            let dc = scale(gradient, factor(site, "beta"))?;
            gradients[2] = Some(sum_to(&dc, &back.input_shapes[2])?);
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("plain").random(&[3, 5]).random(&[5, 2]).random(&[2]),
            Problem::new("transposed and scaled")
                .random(&[5, 3])
                .random(&[2, 5])
                .random(&[3, 1])
                .int("transA", 1)
                .int("transB", 1)
                .float("alpha", 0.5)
                .float("beta", 2.0),
            Problem::new("no c, an empty batch").random(&[0, 5]).random(&[5, 2]),
        ]
    }
}

fn is_set(site: &Site, name: &str) -> bool {
    site.node.int(name).unwrap_or(0) != 0
}

fn factor(site: &Site, name: &str) -> f64 {
    site.node.float(name).unwrap_or(1.0).into()
}

fn flip(x: &Tensor, transposed: bool) -> candle_core::Result<Tensor> {
    if transposed { x.t() } else { Ok(x.clone()) }
}

fn scale(x: &Tensor, factor: f64) -> candle_core::Result<Tensor> {
    if factor == 1.0 { Ok(x.clone()) } else { x * factor }
}
