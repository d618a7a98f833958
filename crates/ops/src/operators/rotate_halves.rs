//! `refit.Rotary(x, cos, sin)`: `x * cos + (-x2, x1) * sin`, where `x1` and `x2` are the halves of each row.
//! The tables are as wide as `x` and are repeated over its other dimensions; no gradient reaches them.

use crate::kernels::{rotary, slices};
use crate::picks::strides;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{D, Tensor};
use refit_graph::{Fact, OpName};

pub(crate) struct RotateHalves;

impl Operator for RotateHalves {
    fn name(&self) -> OpName {
        OpName::refit("Rotary")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let (cos, sin) = (site.required(inputs, 1)?, site.required(inputs, 2)?);
        let angles = angles(site, x.dims(), cos, sin)?;
        if [x, cos, sin].into_iter().all(slices::is_cpu_f32) {
            return Ok(vec![turned(x, cos, sin, &angles, rotary::forward)?]);
        }
        let half = x.dim(D::Minus1)? / 2;
        let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
        let swapped = Tensor::cat(&[second.neg()?, first], D::Minus1)?;
        Ok(vec![(x.broadcast_mul(cos)? + swapped.broadcast_mul(sin)?)?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index < 3
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        let tables = wanted.iter().skip(1).any(|wanted| *wanted);
        if tables { None } else { Reads::inputs(&[1, 2]) }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let (cos, sin) = (site.required(back.inputs, 1)?, site.required(back.inputs, 2)?);
        let angles = angles(site, gradient.dims(), cos, sin)?;
        let dx = if [gradient, cos, sin].into_iter().all(slices::is_cpu_f32) {
            turned(gradient, cos, sin, &angles, rotary::backward)?
        } else {
            let half = gradient.dim(D::Minus1)? / 2;
            let scaled = gradient.broadcast_mul(sin)?;
            let (first, second) = (scaled.narrow(D::Minus1, 0, half)?, scaled.narrow(D::Minus1, half, half)?);
            let swapped = Tensor::cat(&[second, first.neg()?], D::Minus1)?;
            (gradient.broadcast_mul(cos)? + swapped)?
        };
        Ok(vec![Some(dx), None, None])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("heads").random(&[2, 3, 5, 6]).random(&[1, 1, 5, 6]).random(&[5, 6]),
            Problem::new("angles of each text")
                .random(&[2, 2, 3, 4])
                .random(&[2, 1, 3, 4])
                .random(&[2, 1, 3, 4]),
            Problem::new("an empty batch").random(&[0, 3, 4]).random(&[3, 4]).random(&[3, 4]),
        ]
    }
}

type Kernel = fn(&[f32], usize, &[f32], &[f32], &[usize]) -> Vec<f32>;

fn turned(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    angles: &[usize],
    kernel: Kernel,
) -> Result<Tensor, OpError> {
    let (x, width) = (x.contiguous()?, x.dim(D::Minus1)?);
    // One table may be repeated where the other is not: both take the larger shape.
    let shape = cos.broadcast_add(sin)?.dims().to_vec();
    let (cos, sin) =
        (cos.broadcast_as(shape.as_slice())?.contiguous()?, sin.broadcast_as(shape)?.contiguous()?);
    let y = slices::with(&x, |x| {
        slices::with(&cos, |cos| slices::with(&sin, |sin| kernel(x, width, cos, sin, angles)))
    })???;
    Ok(Tensor::from_vec(y, x.dims(), x.device())?)
}

/// For each row of `x` the row of the tables, both broadcast against each other, that turns it.
fn angles(site: &Site, x: &[usize], cos: &Tensor, sin: &Tensor) -> Result<Vec<usize>, OpError> {
    let table = crate::shapes::broadcast_sizes(site, cos.dims(), sin.dims())?;
    let width = x.last().copied().unwrap_or(0);
    let wrong = !width.is_multiple_of(2)
        || table.last() != Some(&width)
        || cos.dims().last() != Some(&width)
        || sin.dims().last() != Some(&width)
        || table.len() > x.len()
        || table.iter().rev().zip(x.iter().rev()).any(|(table, x)| *table != 1 && table != x);
    if wrong || width == 0 {
        return Err(site.refuse(format!("tables of {:?} and {:?} for {x:?}", cos.dims(), sin.dims())));
    }
    let leading = &x[..x.len() - 1];
    let mut padded = vec![1; x.len() - table.len()];
    padded.extend(&table[..table.len() - 1]);
    let (of_x, of_table) = (strides(leading), strides(&padded));
    let row = |row: usize| {
        let along = |axis: usize| match padded[axis] {
            1 => 0,
            _ => row / of_x[axis] % leading[axis] * of_table[axis],
        };
        (0..leading.len()).map(along).sum()
    };
    Ok((0..leading.iter().product()).map(row).collect())
}
