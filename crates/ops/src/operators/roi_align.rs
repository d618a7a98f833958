//! `RoiAlign(x, rois, images)` (He et al. 2017): each region of an image, resampled to one size. The mean of
//! bilinear samples is linear in `x`; regions are constants. The largest sample has no reverse rule.

use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::Tensor;
use refit_graph::{Attribute, Dim, Fact, OpName};

pub(crate) struct RoiAlign;

impl Operator for RoiAlign {
    fn name(&self) -> OpName {
        OpName::standard("RoiAlign")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (x, rois) = (inputs.fact(0), inputs.fact(1));
        let dim = |fact: &Fact, axis: usize| {
            fact.shape.as_ref().and_then(|dims| dims.get(axis)).cloned().unwrap_or(Dim::Unknown)
        };
        let [height, width] = output_size(site)?;
        let shape = vec![dim(&rois, 0), dim(&x, 1), Dim::Known(height), Dim::Known(width)];
        Ok(vec![shaped(x.dtype, Some(shape))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let plan = Plan::new(site, x.dims(), inputs)?;
        let largest = is_largest(site)?;
        let mut y = vec![0f32; plan.shape.iter().product()];
        host::with(x, |x| {
            plan.each(|output, bin, plane| {
                let taps = || bin.taps.iter().map(|(at, weight)| weight * x[plane + at]);
                y[output] = match largest {
                    true => taps().reduce(f32::max).unwrap_or(0.0),
                    false => taps().sum::<f32>() / bin.samples as f32,
                };
            });
        })?;
        Ok(vec![host::tensor(y, &plan.shape, x)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn differentiable(&self, index: usize) -> bool {
        index < 2
    }

    fn reads(&self, site: &Site, wanted: &[bool]) -> Option<Reads> {
        let mean = matches!(is_largest(site), Ok(false));
        let regions = wanted.get(1).copied().unwrap_or(false);
        if mean && !regions { Reads::inputs(&[1, 2]) } else { None }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, x) = (site.required(back.gradients, 0)?, &back.input_shapes[0]);
        let plan = Plan::new(site, x, back.inputs)?;
        let mut dx = vec![0f32; x.iter().product()];
        host::with(gradient, |g| {
            plan.each(|output, bin, plane| {
                for (at, weight) in &bin.taps {
                    dx[plane + at] += weight * g[output] / bin.samples as f32;
                }
            });
        })?;
        Ok(vec![Some(host::tensor(dx, x, gradient)?), None, None])
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |what| {
            let problem = Problem::new(what).random(&[2, 2, 5, 6]);
            let corners = [0.3, 0.4, 4.2, 3.6, -1.5, 1.0, 3.0, 4.9];
            let problem = problem.floats(&[2, 4], &corners);
            problem.integers(&[2], &[1, 0]).int("output_height", 2).int("output_width", 3)
        };
        let mode = Attribute::String("output_half_pixel".as_bytes().into());
        vec![
            problem("two regions").int("sampling_ratio", 2),
            problem("as many samples as fit").attribute("coordinate_transformation_mode", mode),
        ]
    }
}

fn is_largest(site: &Site) -> Result<bool, OpError> {
    match site.node.text("mode").unwrap_or("avg") {
        "avg" => Ok(false),
        "max" => Ok(true),
        other => {
            let why = format!("\"{other}\" is not avg or max");
            Err(OpError::Attribute { op: site.node.op.clone(), name: "mode", why })
        }
    }
}

fn output_size(site: &Site) -> Result<[usize; 2], OpError> {
    let size = |name| usize::try_from(site.node.int(name).unwrap_or(1)).ok().filter(|size| *size > 0);
    let wrong = || site.refuse("output_height and output_width must be sizes");
    Ok([size("output_height").ok_or_else(wrong)?, size("output_width").ok_or_else(wrong)?])
}

/// One output position of a region: what it reads of a plane.
struct Bin {
    samples: usize,
    taps: Vec<(usize, f32)>,
}

/// All bins of all regions.
struct Plan {
    shape: Vec<usize>,
    /// Channels of the input and elements of a plane.
    channels: usize,
    plane: usize,
    /// The image of each region.
    images: Vec<usize>,
    bins: Vec<Bin>,
}

impl Plan {
    fn new(site: &Site, x: &[usize], inputs: &[Option<Tensor>]) -> Result<Self, OpError> {
        let (rois, images) = (site.required(inputs, 1)?, site.required(inputs, 2)?);
        let ([batch, channels, height, width], [count, 4]) = (x, rois.dims()) else {
            return Err(site.refuse(format!("regions of {:?} for {x:?}", rois.dims())));
        };
        let place = |image: i64| usize::try_from(image).ok().filter(|image| image < batch);
        let images: Option<Vec<usize>> = host::integers(images)?.into_iter().map(place).collect();
        let images = images.filter(|images| images.len() == *count && *height > 0 && *width > 0);
        let images =
            images.ok_or_else(|| site.refuse(format!("not every region has an image of {batch}")))?;
        let [out_height, out_width] = output_size(site)?;
        let half = match (site.node.text("coordinate_transformation_mode"), site.opset) {
            (Some("half_pixel"), _) | (None, 16..) => true,
            (Some("output_half_pixel") | None, _) => false,
            (Some(other), _) => return Err(site.refuse(format!("coordinates \"{other}\" are not known"))),
        };
        let scale = f64::from(site.node.float("spatial_scale").unwrap_or(1.0));
        let ratio = usize::try_from(site.node.int("sampling_ratio").unwrap_or(0)).unwrap_or(0);
        let mut bins = Vec::new();
        for region in host::numbers(rois)?.as_chunks::<4>().0 {
            let corner = region.map(|corner| corner * scale - if half { 0.5 } else { 0.0 });
            let side = |axis: usize| {
                let side = corner[axis + 2] - corner[axis];
                if half { side } else { side.max(1.0) }
            };
            let axis = |axis: usize, outputs: usize, size: usize| {
                let bin = side(axis) / outputs as f64;
                let samples = if ratio > 0 { ratio } else { bin.ceil().clamp(0.0, 4096.0) as usize };
                Axis { start: corner[axis], bin, samples, size }
            };
            let (rows, columns) = (axis(1, out_height, *height), axis(0, out_width, *width));
            for output in 0..out_height * out_width {
                bins.push(Bin::new(&rows, &columns, output / out_width, output % out_width));
            }
        }
        let shape = vec![*count, *channels, out_height, out_width];
        Ok(Self { shape, channels: *channels, plane: height * width, images, bins })
    }

    /// Calls `f` with each output, its bin, and where the plane that it reads begins.
    fn each(&self, mut f: impl FnMut(usize, &Bin, usize)) {
        let of_region = self.shape[2] * self.shape[3];
        for (region, image) in self.images.iter().enumerate() {
            for channel in 0..self.channels {
                let plane = (image * self.channels + channel) * self.plane;
                for bin in 0..of_region {
                    let output = (region * self.channels + channel) * of_region + bin;
                    f(output, &self.bins[region * of_region + bin], plane);
                }
            }
        }
    }
}

/// One axis of a region.
struct Axis {
    start: f64,
    bin: f64,
    samples: usize,
    size: usize,
}

impl Axis {
    /// The two neighbours of a sample with their weights; `None` outside of the image.
    fn neighbours(&self, bin: usize, sample: usize) -> Option<[(usize, f64); 2]> {
        let at = self.start + bin as f64 * self.bin + (sample as f64 + 0.5) * self.bin / self.samples as f64;
        if !(-1.0..=self.size as f64).contains(&at) {
            return None;
        }
        let at = at.max(0.0);
        let (low, last) = (at as usize, self.size - 1);
        match low >= last {
            true => Some([(last, 1.0), (last, 0.0)]),
            false => Some([(low, 1.0 - (at - low as f64)), (low + 1, at - low as f64)]),
        }
    }
}

impl Bin {
    fn new(rows: &Axis, columns: &Axis, row: usize, column: usize) -> Self {
        let mut taps = Vec::new();
        for sample in 0..rows.samples * columns.samples {
            let of_row = rows.neighbours(row, sample / columns.samples);
            let of_column = columns.neighbours(column, sample % columns.samples);
            if let (Some(of_row), Some(of_column)) = (of_row, of_column) {
                for (y, of_y) in of_row {
                    taps.extend(of_column.map(|(x, of_x)| (y * columns.size + x, (of_y * of_x) as f32)));
                }
            } else {
                taps.push((0, 0.0));
            }
        }
        Self { samples: (rows.samples * columns.samples).max(1), taps }
    }
}
