//! `GridSample(x, grid)` (Jaderberg et al. 2015): the image at the places that the grid names, from -1 to 1,
//! the innermost axis first. Gradients reach the image and the grid.

mod place;

use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::Tensor;
use place::{Places, Tap};
use rayon::prelude::*;
use refit_graph::{Attribute, Fact, OpName};

pub(crate) struct GridSample;

impl Operator for GridSample {
    fn name(&self) -> OpName {
        OpName::standard("GridSample")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (x, grid) = (inputs.fact(0), inputs.fact(1));
        let shape = match (x.shape, grid.shape) {
            (Some(x), Some(grid)) if x.len() > 2 && x.len() == grid.len() => {
                Some([&x[..2], &grid[1..grid.len() - 1]].concat())
            }
            (Some(x), Some(grid)) => {
                return Err(site.refuse(format!("a grid of {} dimensions for {}", grid.len(), x.len())));
            }
            _ => None,
        };
        Ok(vec![shaped(x.dtype, shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, grid) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let sizes = Sizes::new(site, x.dims(), grid.dims())?;
        let places = Places::new(site, &sizes.input)?;
        let mut y = vec![0f32; sizes.batch * sizes.channels * sizes.points];
        host::with2(x, grid, |x, grid| {
            for image in 0..sizes.batch {
                let taps = sizes.taps(&places, grid, image);
                let channels = image * sizes.channels..(image + 1) * sizes.channels;
                let rows = &mut y[channels.start * sizes.points..channels.end * sizes.points];
                rows.par_chunks_mut(sizes.points.max(1)).zip(channels).for_each(|(row, channel)| {
                    let plane = &x[channel * sizes.plane..][..sizes.plane];
                    for (y, taps) in row.iter_mut().zip(&taps) {
                        *y = taps.iter().map(|tap| tap.weight * plane[tap.at]).sum();
                    }
                });
            }
        })?;
        Ok(vec![host::tensor(y, &sizes.shape, x)?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let (x, grid) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        let sizes = Sizes::new(site, x.dims(), grid.dims())?;
        let places = Places::new(site, &sizes.input)?;
        let axes = sizes.input.len();
        let (mut dx, mut dgrid) = (vec![0f32; x.elem_count()], vec![0f32; grid.elem_count()]);
        host::with3([x, grid, gradient], |x, grid, g| {
            for image in 0..sizes.batch {
                let taps = sizes.taps(&places, grid, image);
                for channel in image * sizes.channels..(image + 1) * sizes.channels {
                    let plane = channel * sizes.plane;
                    for (point, taps) in taps.iter().enumerate() {
                        let g = g[channel * sizes.points + point];
                        let slopes = &mut dgrid[(image * sizes.points + point) * axes..][..axes];
                        for tap in taps {
                            dx[plane + tap.at] += g * tap.weight;
                            for axis in 0..axes {
                                // The grid names the innermost axis first.
                                slopes[axes - 1 - axis] += g * x[plane + tap.at] * tap.slopes[axis];
                            }
                        }
                    }
                }
            }
        })?;
        let made = |data, index: usize| host::tensor(data, &back.input_shapes[index], gradient);
        Ok(vec![Some(made(dx, 0)?), Some(made(dgrid, 1)?)])
    }

    fn problems(&self) -> Vec<Problem> {
        let text = |value: &'static str| Attribute::String(value.as_bytes().into());
        let planes =
            |what, high: f32| Problem::new(what).random(&[2, 2, 4, 5]).random_in(&[2, 3, 2, 2], -high, high);
        // Each between two elements, or outside: where an element lies the slope jumps.
        let between = |what, range: usize| {
            let place = |i: usize| {
                let at = (i * 37 % 100) as f32 * 0.006 + 0.2 + (i % range) as f32 - (range / 4) as f32;
                (2.0 * at + 1.0) / if i.is_multiple_of(2) { 5.0 } else { 4.0 } - 1.0
            };
            let grid: Vec<f32> = (0..24).map(place).collect();
            Problem::new(what).random(&[2, 2, 4, 5]).floats(&[2, 3, 2, 2], &grid)
        };
        let mut problems = vec![
            between("bilinear", 3),
            between("beyond the border", 7),
            between("repeated border", 7).attribute("padding_mode", text("border")),
            between("reflected", 7).attribute("padding_mode", text("reflection")),
            planes("cubic", 0.9).attribute("mode", text("cubic")),
            planes("cubic, corners aligned", 0.9).attribute("mode", text("cubic")).int("align_corners", 1),
            Problem::new("three dimensions").random(&[1, 2, 3, 2, 4]).random_in(&[1, 2, 1, 2, 3], -0.9, 0.9),
        ];
        let exact = [0.11, 0.32, -0.61, 0.07, 0.43, -0.24];
        let nearest = Problem::new("nearest").random(&[1, 2, 4, 5]).floats(&[1, 3, 1, 2], &exact);
        problems.push(nearest.attribute("mode", text("nearest")));
        problems
    }
}

struct Sizes {
    batch: usize,
    channels: usize,
    /// Spatial sizes of the input, and their product.
    input: Vec<usize>,
    plane: usize,
    /// Places that the grid names for each image.
    points: usize,
    shape: Vec<usize>,
}

impl Sizes {
    fn new(site: &Site, x: &[usize], grid: &[usize]) -> Result<Self, OpError> {
        let fits = x.len() > 2
            && x.len() == grid.len()
            && x[0] == grid[0]
            && grid[grid.len() - 1] == x.len() - 2
            && (x[2..].iter().all(|size| *size > 0) || x[0] * x[1] == 0);
        if !fits || x.len() > 5 {
            return Err(site.refuse(format!("a grid of {grid:?} for {x:?}")));
        }
        let places = &grid[1..grid.len() - 1];
        Ok(Self {
            batch: x[0],
            channels: x[1],
            input: x[2..].to_vec(),
            plane: x[2..].iter().product(),
            points: places.iter().product(),
            shape: [&x[..2], places].concat(),
        })
    }

    /// What each point of an image reads.
    fn taps(&self, places: &Places, grid: &[f32], image: usize) -> Vec<Vec<Tap>> {
        let axes = self.input.len();
        let own = &grid[image * self.points * axes..(image + 1) * self.points * axes];
        own.par_chunks(axes).map(|point| places.taps(point)).collect()
    }
}
