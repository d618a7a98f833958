//! `GatherND(data, indices)`: the last dimension of the indices is a place in `data`, behind `batch_dims`
//! dimensions that both share.

use crate::picks::{Picking, Plan, strides};
use crate::shapes::{self, shaped};
use crate::{Known, OpError, Problem, Site, host};
use candle_core::Tensor;
use refit_graph::{Dim, Fact};

pub(crate) static GATHER_ND: Picking = Picking { name: "GatherND", host_inputs: &[1], infer, plan, problems };

fn batch_dims(site: &Site) -> Result<usize, OpError> {
    let batch = site.node.int("batch_dims").unwrap_or(0);
    usize::try_from(batch).map_err(|_| site.refuse(format!("{batch} shared dimensions")))
}

fn infer(site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
    let (data, indices) = (inputs.fact(0), inputs.fact(1));
    let (Some(shape), Some(places)) = (&data.shape, &indices.shape) else {
        return Ok(vec![shapes::of_type(data.dtype)]);
    };
    let Some((depth, outer)) = places.split_last() else {
        return Err(site.refuse("the indices need at least one dimension"));
    };
    let Some(depth) = depth.known() else { return Ok(vec![shapes::of_type(data.dtype)]) };
    let first = batch_dims(site)? + depth;
    if first > shape.len() || batch_dims(site)? > outer.len() {
        return Err(site.refuse(format!("indices of {depth} numbers for {} dimensions", shape.len())));
    }
    let dims: Vec<Dim> = outer.iter().chain(&shape[first..]).cloned().collect();
    Ok(vec![shaped(data.dtype, Some(dims))])
}

fn plan(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Plan, OpError> {
    let indices = site.required(inputs, 1)?;
    let starts = starts(site, x, indices, batch_dims(site)?)?;
    let outer = &indices.dims()[..indices.rank() - 1];
    let inner = &x[batch_dims(site)? + indices.dims()[indices.rank() - 1]..];
    let length: usize = inner.iter().product();
    let sources = starts.into_iter().flat_map(|start| (start..start + length).map(|at| at as u32)).collect();
    Ok(Plan { shape: [outer, inner].concat(), sources })
}

/// Where in the flat data the slice of each index begins.
pub(super) fn starts(
    site: &Site,
    data: &[usize],
    indices: &Tensor,
    batch: usize,
) -> Result<Vec<usize>, OpError> {
    let Some((depth, outer)) = indices.dims().split_last() else {
        return Err(site.refuse("the indices need at least one dimension"));
    };
    if batch + depth > data.len() || batch > outer.len() || outer[..batch] != data[..batch] {
        return Err(site.refuse(format!("indices of {:?} do not fit data of {data:?}", indices.dims())));
    }
    let steps = strides(data);
    let numbers = host::integers(indices)?;
    let batches: usize = outer[..batch].iter().product();
    let each: usize = outer[batch..].iter().product();
    let mut starts = Vec::with_capacity(batches * each);
    for place in 0..batches * each {
        let block: usize = data[batch..].iter().product();
        let mut start = place / each.max(1) * block;
        for (index, axis) in numbers[place * depth..(place + 1) * depth].iter().zip(batch..) {
            let size = data[axis] as i64;
            let at = if *index < 0 { index.saturating_add(size) } else { *index };
            if !(0..size).contains(&at) {
                return Err(site.refuse(format!("index {index} lies outside {size} entries")));
            }
            start += at as usize * steps[axis];
        }
        starts.push(start);
    }
    Ok(starts)
}

fn problems() -> Vec<Problem> {
    vec![
        Problem::new("elements, one twice").random(&[2, 3]).integers(&[3, 2], &[0, 1, -1, 2, 0, 1]),
        Problem::new("rows").random(&[3, 2, 2]).integers(&[2, 1, 2], &[0, 1, 2, 0]),
        Problem::new("a shared dimension").random(&[2, 3, 2]).integers(&[2, 1], &[2, 0]).int("batch_dims", 1),
        Problem::new("no indices").random(&[2, 3]).integers(&[0, 1], &[]),
    ]
}
