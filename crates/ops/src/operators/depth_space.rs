//! `DepthToSpace` and `SpaceToDepth`: blocks of space become channels, and back.

use crate::picks::{Picking, Plan};
use crate::shapes::{self, shaped};
use crate::{Known, OpError, Problem, Site};
use candle_core::Tensor;
use refit_graph::{Attribute, Dim, Fact};

pub(crate) static DEPTH_TO_SPACE: Picking = Picking {
    name: "DepthToSpace",
    host_inputs: &[],
    infer: |site, inputs| infer(site, inputs, true),
    plan: |site, x, _: &[Option<Tensor>]| depth_to_space(site, x),
    problems: || {
        let x = |what| Problem::new(what).random(&[2, 8, 1, 3]).int("blocksize", 2);
        vec![
            x("depth first"),
            x("columns first").attribute("mode", Attribute::String(b"CRD".as_slice().into())),
            Problem::new("an empty batch").random(&[0, 4, 2, 2]).int("blocksize", 2),
        ]
    },
};

pub(crate) static SPACE_TO_DEPTH: Picking = Picking {
    name: "SpaceToDepth",
    host_inputs: &[],
    infer: |site, inputs| infer(site, inputs, false),
    plan: |site, x, _: &[Option<Tensor>]| space_to_depth(site, x),
    problems: || {
        vec![
            Problem::new("two dimensions").random(&[2, 3, 4, 6]).int("blocksize", 2),
            Problem::new("columns first")
                .random(&[1, 3, 4, 2])
                .int("blocksize", 2)
                .attribute("mode", Attribute::String(b"CRD".as_slice().into())),
            Problem::new("an empty batch").random(&[0, 1, 3, 3]).int("blocksize", 3),
        ]
    },
};

fn block(site: &Site) -> Result<usize, OpError> {
    let size = site.node.int("blocksize").and_then(|size| usize::try_from(size).ok());
    size.filter(|size| *size > 0).ok_or_else(|| OpError::Attribute {
        op: site.node.op.clone(),
        name: "blocksize",
        why: "a size is required".to_owned(),
    })
}

fn infer(site: &Site, inputs: &Known, to_space: bool) -> Result<Vec<Fact>, OpError> {
    let x = inputs.fact(0);
    let Some(dims) = x.shape else { return Ok(vec![shapes::of_type(x.dtype)]) };
    let [batch, channels, height, width] = dims.as_slice() else {
        return Err(site.refuse("batch, channels, height and width were expected"));
    };
    let size = Dim::Known(block(site)?);
    let (whole, parts) = (
        |dim: &Dim| shapes::product([dim, &size]),
        |dim: &Dim, by: &[Dim]| shapes::quotient(std::slice::from_ref(dim), by),
    );
    let shape = match to_space {
        true => vec![parts(channels, &[size.clone(), size.clone()]), whole(height), whole(width)],
        false => {
            let one = [size.clone()];
            vec![shapes::product([channels, &size, &size]), parts(height, &one), parts(width, &one)]
        }
    };
    Ok(vec![shaped(x.dtype, Some([vec![batch.clone()], shape].concat()))])
}

fn depth_to_space(site: &Site, x: &[usize]) -> Result<Plan, OpError> {
    let size = block(site)?;
    let &[batch, channels, height, width] = x else {
        return Err(site.refuse("batch, channels, height and width were expected"));
    };
    if !channels.is_multiple_of(size * size) {
        return Err(site.refuse(format!("{channels} channels do not make blocks of {size} x {size}")));
    }
    let outputs = channels / (size * size);
    let mut sources = Vec::with_capacity(x.iter().product());
    for n in 0..batch {
        for c in 0..outputs {
            for (row, column) in places(height * size, width * size) {
                let part = row % size * size + column % size;
                let channel = if columns_first(site) { c * size * size + part } else { part * outputs + c };
                let line = (n * channels + channel) * height + row / size;
                sources.push((line * width + column / size) as u32);
            }
        }
    }
    Ok(Plan { shape: vec![batch, outputs, height * size, width * size], sources })
}

fn space_to_depth(site: &Site, x: &[usize]) -> Result<Plan, OpError> {
    let size = block(site)?;
    let &[batch, channels, height, width] = x else {
        return Err(site.refuse("batch, channels, height and width were expected"));
    };
    if !height.is_multiple_of(size) || !width.is_multiple_of(size) {
        return Err(site.refuse(format!("{height} x {width} is not made of blocks of {size} x {size}")));
    }
    let mut sources = Vec::with_capacity(x.iter().product());
    for n in 0..batch {
        for to in 0..channels * size * size {
            let (part, c) = match columns_first(site) {
                true => (to % (size * size), to / (size * size)),
                false => (to / channels, to % channels),
            };
            for (row, column) in places(height / size, width / size) {
                let line = (n * channels + c) * height + row * size + part / size;
                sources.push((line * width + column * size + part % size) as u32);
            }
        }
    }
    Ok(Plan { shape: vec![batch, channels * size * size, height / size, width / size], sources })
}

/// Whether the channels of a block follow each other; else blocks of channels do.
fn columns_first(site: &Site) -> bool {
    site.node.text("mode") == Some("CRD")
}

fn places(height: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |row| (0..width).map(move |column| (row, column)))
}
