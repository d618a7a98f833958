//! `Resize(x, roi?, scales?, sizes?)` and `Upsample(x, scales)`: each axis is resampled by itself, with the
//! taps that mode and coordinates give. The map is linear in `x`; its transpose is the reverse rule.

mod request;
mod taps;

use crate::device;
use crate::kernels::{resample, slices};
use crate::shapes::shaped;
use crate::{Backward, Element, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{DType as Storage, Tensor};
use refit_graph::{Attribute, Dim, Fact, OpName};
use request::{Axis, Request};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resize {
    Resize,
    Upsample,
}

impl Operator for Resize {
    fn name(&self) -> OpName {
        OpName::standard(if *self == Self::Resize { "Resize" } else { "Upsample" })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let Some(dims) = x.shape else { return Ok(vec![shaped(x.dtype, None)]) };
        let request = Request::known(*self, site, inputs);
        let named = || {
            let sizes = inputs.elements(Request::sizes_at(*self, site)?)?;
            (sizes.len() == dims.len()).then(|| sizes.iter().map(Element::dim).collect())
        };
        let shape: Vec<Dim> = match request {
            Some(request) => request.dims(site, &dims)?,
            None => named().unwrap_or_else(|| vec![Dim::Unknown; dims.len()]),
        };
        Ok(vec![shaped(x.dtype, Some(shape))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let axes = self.axes(site, x.dims(), inputs)?;
        let value = site.node.float("extrapolation_value").unwrap_or(0.0);
        if !slices::is_cpu(x) {
            let mut y = x.to_dtype(Storage::F32)?;
            for axis in &axes {
                y = device::resample::along(&y, &taps::of(site, axis, *self == Self::Upsample)?, axis.axis)?;
            }
            return Ok(vec![fill_outside(site, &y, &axes, value)?.to_dtype(x.dtype())?]);
        }
        let mut shape = x.dims().to_vec();
        let mut data = host::with(x, <[f32]>::to_vec)?;
        for axis in &axes {
            let taps = taps::of(site, axis, *self == Self::Upsample)?;
            data = resample::along(&data, &taps, shape[axis.axis + 1..].iter().product());
            shape[axis.axis] = axis.output;
        }
        set_outside(site, &mut data, &shape, &axes, value)?;
        Ok(vec![host::tensor(data, &shape, x)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1, 2, 3]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[1, 2, 3])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let axes = self.axes(site, &back.input_shapes[0], back.inputs)?;
        let mut gradients = vec![None; back.input_shapes.len()];
        if !slices::is_cpu(gradient) {
            let mut dx = fill_outside(site, &gradient.to_dtype(Storage::F32)?, &axes, 0.0)?;
            for axis in axes.iter().rev() {
                let taps = taps::of(site, axis, *self == Self::Upsample)?.transposed();
                dx = device::resample::along(&dx, &taps, axis.axis)?;
            }
            gradients[0] = Some(dx.to_dtype(gradient.dtype())?);
            return Ok(gradients);
        }
        let mut shape = gradient.dims().to_vec();
        let mut data = host::with(gradient, <[f32]>::to_vec)?;
        set_outside(site, &mut data, &shape, &axes, 0.0)?;
        for axis in axes.iter().rev() {
            let taps = taps::of(site, axis, *self == Self::Upsample)?.transposed();
            data = resample::along(&data, &taps, shape[axis.axis + 1..].iter().product());
            shape[axis.axis] = axis.input;
        }
        gradients[0] = Some(host::tensor(data, &shape, gradient)?);
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Resize => problems(),
            Self::Upsample => {
                let problem = |what, mode: &'static str| {
                    let problem = Problem::new(what).opset(9).random(&[1, 2, 3, 2]);
                    text(problem.floats(&[4], &[1.0, 1.0, 2.0, 1.5]), "mode", mode)
                };
                vec![problem("nearest", "nearest"), problem("linear", "linear")]
            }
        }
    }
}

impl Resize {
    fn axes(self, site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Vec<Axis>, OpError> {
        let request = Request::given(self, site, inputs)?;
        let request = request.ok_or_else(|| site.refuse("neither scales nor sizes are given"))?;
        request.axes(site, x)
    }
}

fn text(problem: Problem, name: &'static str, value: &'static str) -> Problem {
    problem.attribute(name, Attribute::String(value.as_bytes().into()))
}

/// Sets the elements whose coordinates lie outside of the input (`tf_crop_and_resize`).
fn set_outside(
    site: &Site,
    data: &mut [f32],
    shape: &[usize],
    axes: &[Axis],
    value: f32,
) -> Result<(), OpError> {
    for axis in axes {
        let inner: usize = shape[axis.axis + 1..].iter().product();
        for position in taps::outside(site, axis)? {
            for row in data.chunks_exact_mut(inner.max(1)).skip(position).step_by(axis.output) {
                row.fill(value);
            }
        }
    }
    Ok(())
}

/// What [`set_outside`] does, on any device.
fn fill_outside(site: &Site, x: &Tensor, axes: &[Axis], value: f32) -> Result<Tensor, OpError> {
    let mut x = x.clone();
    for axis in axes {
        let positions = taps::outside(site, axis)?;
        if positions.is_empty() {
            continue;
        }
        let outside: Vec<u8> = (0..axis.output).map(|at| u8::from(positions.contains(&at))).collect();
        let mut along = vec![1; x.rank()];
        along[axis.axis] = axis.output;
        let outside = Tensor::from_vec(outside, along, x.device())?.broadcast_as(x.shape())?;
        let value = Tensor::new(&[value], x.device())?.broadcast_as(x.shape())?;
        x = outside.where_cond(&value, &x)?;
    }
    Ok(x)
}

fn problems() -> Vec<Problem> {
    let scaled = |what, shape: &[usize], scales: &[f32]| {
        Problem::new(what).random(shape).absent().floats(&[scales.len()], scales)
    };
    let sized = |what, shape: &[usize], sizes: &[i64]| {
        Problem::new(what).random(shape).absent().absent().integers(&[sizes.len()], sizes)
    };
    let mut problems = vec![
        scaled("nearest", &[1, 2, 3, 5], &[1.0, 1.0, 2.0, 0.6]),
        text(scaled("linear, larger", &[1, 2, 3, 5], &[1.0, 1.0, 2.3, 1.7]), "mode", "linear"),
        text(
            scaled("linear in three dimensions", &[1, 1, 2, 3, 2], &[1.0, 1.0, 2.0, 2.0, 1.5]),
            "mode",
            "linear",
        ),
        text(sized("cubic, both ways", &[1, 1, 5, 4], &[1, 1, 3, 7]), "mode", "cubic"),
        text(sized("cubic without what lies outside", &[1, 1, 5, 4], &[1, 1, 3, 7]), "mode", "cubic")
            .int("exclude_outside", 1),
        text(sized("antialiased", &[1, 1, 7, 5], &[1, 1, 3, 4]), "mode", "linear").int("antialias", 1),
        text(sized("cubic, antialiased", &[1, 1, 7, 5], &[1, 1, 3, 4]), "mode", "cubic").int("antialias", 1),
        text(sized("an empty batch", &[0, 1, 3, 3], &[0, 1, 5, 5]), "mode", "linear"),
    ];
    for mode in ["align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"] {
        let problem = text(sized(mode, &[1, 1, 4, 3], &[1, 1, 7, 1]), "mode", "linear");
        problems.push(text(problem, "coordinate_transformation_mode", mode));
    }
    let crop = Problem::new("a crop that reaches outside").random(&[1, 1, 4, 3]);
    let crop = crop.floats(&[8], &[0.0, 0.0, -0.2, 0.1, 1.0, 1.0, 0.7, 0.8]).absent();
    let crop = text(crop.integers(&[4], &[1, 1, 3, 3]), "mode", "linear");
    problems.push(text(crop, "coordinate_transformation_mode", "tf_crop_and_resize"));
    problems
}
