//! `MaxUnpool(x, indices, output_shape?)`: puts each element where `MaxPool` found it, zeros elsewhere.

use crate::picks::{NOTHING, Picking, Plan, strides};
use crate::shapes::{self, shaped};
use crate::windows::{Windows, list};
use crate::{Element, Known, OpError, Problem, Site, host};
use candle_core::Tensor;
use refit_graph::{Dim, Fact};

pub(crate) static MAX_UNPOOL: Picking =
    Picking { name: "MaxUnpool", host_inputs: &[1, 2], infer, plan, problems };

fn infer(site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
    let x = inputs.fact(0);
    if inputs.has(2) {
        let sizes = inputs.elements(2).map(|sizes| sizes.iter().map(Element::dim).collect());
        return Ok(vec![shaped(x.dtype, sizes)]);
    }
    let shape = match x.concrete_shape() {
        Some(dims) => Some(unpooled(site, &dims)?.into_iter().map(Dim::Known).collect()),
        None => x.shape.map(|dims| vec![Dim::Unknown; dims.len()]),
    };
    Ok(vec![shaped(x.dtype, shape)])
}

/// The shape before pooling.
fn unpooled(site: &Site, x: &[usize]) -> Result<Vec<usize>, OpError> {
    let windows = Windows::of_pool(site)?;
    if x.len() != windows.kernel.len() + 2 {
        return Err(site.refuse(format!("a kernel of {} dimensions for {x:?}", windows.kernel.len())));
    }
    let spatial = x.len() - 2;
    let pads = list(site, "pads", 2 * spatial)?.unwrap_or_else(|| vec![0; 2 * spatial]);
    let mut shape = x[..2].to_vec();
    for (axis, size) in x[2..].iter().enumerate() {
        let span = size.saturating_sub(1) * windows.strides[axis] + windows.kernel[axis];
        let size = span.checked_sub(pads[axis] + pads[axis + spatial]);
        shape.push(size.ok_or_else(|| site.refuse(format!("the padding is larger than {span}")))?);
    }
    Ok(shape)
}

/// Of several elements that go to one place the last one stays.
fn plan(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Plan, OpError> {
    let indices = site.required(inputs, 1)?;
    if indices.dims() != x {
        return Err(site.refuse(format!("indices of {:?} for {x:?}", indices.dims())));
    }
    let inferred = unpooled(site, x)?;
    let shape = match inputs.get(2).and_then(Option::as_ref) {
        Some(shape) => shapes::sizes(site, &shapes::integers(site, shape)?)?,
        None => inferred.clone(),
    };
    if shape.len() != x.len() || shape.iter().zip(&inferred).any(|(shape, inferred)| shape < inferred) {
        return Err(site.refuse(format!("an output of {shape:?} cannot hold {inferred:?}")));
    }
    let (from, to, count) = (strides(&inferred), strides(&shape), inferred.iter().product::<usize>());
    let mut sources = vec![NOTHING; shape.iter().product()];
    for (source, index) in host::integers(indices)?.into_iter().enumerate() {
        let at = usize::try_from(index).ok().filter(|at| *at < count);
        let at = at.ok_or_else(|| site.refuse(format!("index {index} lies outside {inferred:?}")))?;
        let place: usize = (0..shape.len()).map(|axis| at / from[axis] % inferred[axis] * to[axis]).sum();
        sources[place] = source as u32;
    }
    Ok(Plan { shape, sources })
}

fn problems() -> Vec<Problem> {
    let pooled = |what| {
        let problem = Problem::new(what).random(&[1, 2, 2, 2]);
        problem.integers(&[1, 2, 2, 2], &[5, 7, 13, 15, 16, 18, 25, 31])
    };
    let windows = |problem: Problem| problem.ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]);
    vec![
        windows(pooled("windows side by side")),
        windows(pooled("a larger output").integers(&[4], &[1, 2, 5, 5])),
    ]
}
