//! `Transpose(x)`: permutes the dimensions by `perm`, or reverses them. A view: nothing is copied.

use crate::shapes::{axes, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Fact, OpName};

pub(crate) struct Transpose;

impl Operator for Transpose {
    fn name(&self) -> OpName {
        OpName::standard("Transpose")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let shape = match x.shape {
            Some(dims) => {
                Some(permutation(site, dims.len())?.into_iter().map(|axis| dims[axis].clone()).collect())
            }
            None => None,
        };
        Ok(vec![shaped(x.dtype, shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        Ok(vec![x.permute(permutation(site, x.rank())?)?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::nothing()
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let mut inverse = vec![0; gradient.rank()];
        for (to, from) in permutation(site, gradient.rank())?.into_iter().enumerate() {
            inverse[from] = to;
        }
        Ok(vec![Some(gradient.permute(inverse)?)])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("reversed").random(&[2, 3, 4]),
            Problem::new("a cycle").random(&[2, 3, 4]).ints("perm", &[2, 0, 1]),
            Problem::new("an empty batch").random(&[0, 3]),
        ]
    }
}

fn permutation(site: &Site, rank: usize) -> Result<Vec<usize>, OpError> {
    let Some(perm) = site.node.ints("perm") else { return Ok((0..rank).rev().collect()) };
    let perm = axes(site, perm, rank)?;
    let complete = perm.len() == rank && (0..rank).all(|axis| perm.contains(&axis));
    if complete { Ok(perm) } else { Err(site.refuse(format!("{perm:?} permutes no {rank} dimensions"))) }
}
