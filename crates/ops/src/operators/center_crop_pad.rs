//! `CenterCropPad(x, shape; axes?)`: the middle of `x`, or zeros around it, until it has that shape.

use crate::picks::{Picking, Plan, separable};
use crate::shapes::{self, shaped};
use crate::{Element, Known, OpError, Problem, Site};
use candle_core::Tensor;
use refit_graph::Fact;

pub(crate) static CENTER_CROP_PAD: Picking =
    Picking { name: "CenterCropPad", host_inputs: &[1], infer, plan, problems };

fn axes(site: &Site, rank: usize) -> Result<Vec<usize>, OpError> {
    match site.node.ints("axes") {
        Some(axes) => shapes::axes(site, axes, rank),
        None => Ok((0..rank).collect()),
    }
}

fn infer(site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
    let x = inputs.fact(0);
    let Some(mut dims) = x.shape else { return Ok(vec![shapes::of_type(x.dtype)]) };
    let wanted = inputs.elements(1);
    for (entry, axis) in axes(site, dims.len())?.into_iter().enumerate() {
        let size = wanted.as_ref().and_then(|sizes| sizes.get(entry));
        dims[axis] = size.map_or(refit_graph::Dim::Unknown, Element::dim);
    }
    Ok(vec![shaped(x.dtype, Some(dims))])
}

fn plan(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Plan, OpError> {
    let wanted = shapes::sizes(site, &shapes::integers(site, site.required(inputs, 1)?)?)?;
    let axes = axes(site, x.len())?;
    if axes.len() != wanted.len() {
        return Err(site.refuse(format!("{} sizes for {} axes", wanted.len(), axes.len())));
    }
    let mut along: Vec<Vec<Option<usize>>> = x.iter().map(|size| (0..*size).map(Some).collect()).collect();
    for (axis, wanted) in axes.into_iter().zip(wanted) {
        let size = x[axis];
        along[axis] = match size.checked_sub(wanted) {
            Some(more) => (0..wanted).map(|at| Some(at + more / 2)).collect(),
            None => {
                let before = (wanted - size) / 2;
                (0..wanted).map(|at| at.checked_sub(before).filter(|at| *at < size)).collect()
            }
        };
    }
    Ok(separable(x, &along))
}

fn problems() -> Vec<Problem> {
    vec![
        Problem::new("cropped and padded").random(&[5, 2, 4]).integers(&[3], &[2, 5, 4]),
        Problem::new("one axis").random(&[2, 4]).integers(&[1], &[7]).ints("axes", &[-1]),
    ]
}
