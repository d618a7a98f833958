//! `Col2Im(columns, image_shape, block_shape)`: blocks of an image back in their places, added up where they
//! overlap: the transpose of cutting it into blocks, which is its reverse rule.

use crate::picks::{NOTHING, Plan, pick, put_back, strides};
use crate::shapes::{self, shaped};
use crate::windows::list;
use crate::{Backward, Element, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Dim, Fact, OpName};

pub(crate) struct Col2Im;

impl Operator for Col2Im {
    fn name(&self) -> OpName {
        OpName::standard("Col2Im")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let (Some(dims), Some(image)) = (x.shape, inputs.elements(1)) else {
            return Ok(vec![shapes::of_type(x.dtype)]);
        };
        let block: Option<usize> = inputs
            .integers(2)
            .map(|block| block.iter().map(|size| usize::try_from(*size).unwrap_or(0)).product());
        let channels = match (dims.get(1), block) {
            (Some(Dim::Known(rows)), Some(block)) => rows.checked_div(block).map_or(Dim::Unknown, Dim::Known),
            _ => Dim::Unknown,
        };
        let mut shape = vec![dims.first().cloned().unwrap_or(Dim::Unknown), channels];
        shape.extend(image.iter().map(Element::dim));
        Ok(vec![shaped(x.dtype, Some(shape))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let (shape, places) = places(site, x.dims(), inputs)?;
        Ok(vec![put_back(x, &places, &shape)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[1, 2])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, x) = (site.required(back.gradients, 0)?, &back.input_shapes[0]);
        let (_, sources) = places(site, x, back.inputs)?;
        Ok(vec![Some(pick(gradient, &Plan { shape: x.clone(), sources }, 0.0)?), None, None])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("side by side")
                .random(&[1, 8, 4])
                .integers(&[2], &[4, 4])
                .integers(&[2], &[2, 2])
                .ints("strides", &[2, 2]),
            Problem::new("overlapping, padded, dilated")
                .random(&[2, 6, 12])
                .integers(&[2], &[3, 5])
                .integers(&[2], &[2, 3])
                .ints("pads", &[1, 1, 1, 0])
                .ints("dilations", &[2, 1]),
            Problem::new("one dimension").random(&[1, 3, 4]).integers(&[1], &[6]).integers(&[1], &[3]),
        ]
    }
}

/// The image's shape, and where in it each element of the columns goes.
fn places(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<(Vec<usize>, Vec<u32>), OpError> {
    let sizes = |index| shapes::sizes(site, &shapes::integers(site, site.required(inputs, index)?)?);
    let (image, block) = (sizes(1)?, sizes(2)?);
    let axes = image.len();
    let [batch, rows, columns] = *x else { return Err(site.refuse("columns need three dimensions")) };
    let taps: usize = block.iter().product();
    if axes == 0 || block.len() != axes || taps == 0 || !rows.is_multiple_of(taps) {
        return Err(site.refuse(format!("{rows} rows cannot be blocks of {block:?}")));
    }
    let given =
        |name, default: usize, len| Ok::<_, OpError>(list(site, name, len)?.unwrap_or(vec![default; len]));
    let (steps, dilations) = (given("strides", 1, axes)?, given("dilations", 1, axes)?);
    let pads = given("pads", 0, 2 * axes)?;
    let mut blocks = Vec::new();
    for axis in 0..axes {
        let padded = image[axis] + pads[axis] + pads[axis + axes];
        let room = padded.checked_sub(dilations[axis] * (block[axis] - 1) + 1).filter(|_| steps[axis] > 0);
        let room = room.ok_or_else(|| site.refuse(format!("a block of {block:?} does not fit {image:?}")))?;
        blocks.push(room / steps[axis] + 1);
    }
    if blocks.iter().product::<usize>() != columns {
        return Err(site.refuse(format!("{columns} columns for {blocks:?} blocks")));
    }
    let (of_block, of_tap, of_image) = (strides(&blocks), strides(&block), strides(&image));
    let plane: usize = image.iter().product();
    let place = |at: usize| {
        let (row, column) = (at / columns % rows, at % columns);
        let mut place = (at / columns / rows * (rows / taps) + row / taps) * plane;
        for axis in 0..axes {
            let step = column / of_block[axis] % blocks[axis] * steps[axis];
            let tap = row % taps / of_tap[axis] % block[axis] * dilations[axis];
            let Some(index) = (step + tap).checked_sub(pads[axis]).filter(|index| *index < image[axis])
            else {
                return NOTHING;
            };
            place += index * of_image[axis];
        }
        place as u32
    };
    let shape = [&[batch, rows / taps], image.as_slice()].concat();
    Ok((shape, (0..x.iter().product()).map(place).collect()))
}
