//! `Tile(x, repeats)`: `x` repeated along each axis.

use crate::picks::{Picking, Plan, separable};
use crate::shapes::{self, shaped};
use crate::{Known, OpError, Problem, Site};
use candle_core::Tensor;
use refit_graph::{Dim, Fact};

pub(crate) static TILE: Picking = Picking { name: "Tile", host_inputs: &[1], infer, plan, problems };

fn infer(site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
    let x = inputs.fact(0);
    let Some(dims) = x.shape else { return Ok(vec![shapes::of_type(x.dtype)]) };
    let Some(repeats) = inputs.elements(1) else {
        return Ok(vec![shaped(x.dtype, Some(vec![Dim::Unknown; dims.len()]))]);
    };
    if repeats.len() != dims.len() {
        return Err(site.refuse(format!("{} repeats for {} dimensions", repeats.len(), dims.len())));
    }
    let shape = dims.iter().zip(&repeats).map(|(dim, repeats)| shapes::product([dim, &repeats.dim()]));
    Ok(vec![shaped(x.dtype, Some(shape.collect()))])
}

fn plan(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Plan, OpError> {
    let repeats = shapes::sizes(site, &shapes::integers(site, site.required(inputs, 1)?)?)?;
    if repeats.len() != x.len() {
        return Err(site.refuse(format!("{} repeats for {} dimensions", repeats.len(), x.len())));
    }
    let along = |(size, repeats): (&usize, &usize)| (0..size * repeats).map(|i| Some(i % size)).collect();
    Ok(separable(x, &x.iter().zip(&repeats).map(along).collect::<Vec<_>>()))
}

fn problems() -> Vec<Problem> {
    vec![
        Problem::new("two axes").random(&[2, 3]).integers(&[2], &[2, 3]),
        Problem::new("once").random(&[3]).integers(&[1], &[1]),
        Problem::new("no times").random(&[2, 3]).integers(&[2], &[0, 1]),
        Problem::new("an empty batch").random(&[0, 3]).integers(&[2], &[2, 1]),
    ]
}
