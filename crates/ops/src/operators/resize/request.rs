//! What a resize is asked for: scales or sizes, on all axes or on some.

use super::Resize;
use crate::shapes;
use crate::{Known, OpError, Site, host};
use candle_core::Tensor;
use refit_graph::{Dim, HostTensor};

/// Scales or sizes as given, and the region of interest.
pub(super) struct Request {
    scales: Option<Vec<f64>>,
    sizes: Option<Vec<i64>>,
    region: Vec<f64>,
}

/// One axis that is resampled.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub axis: usize,
    pub input: usize,
    pub output: usize,
    pub scale: f64,
    /// Start and end of the region of interest, from 0 to 1.
    pub region: [f64; 2],
}

impl Request {
    /// Positions of the scales and of the sizes among the inputs.
    fn places(op: Resize, site: &Site) -> [Option<usize>; 2] {
        match (op, site.opset) {
            (Resize::Upsample, ..9) => [None, None],
            (Resize::Upsample, _) | (Resize::Resize, ..11) => [Some(1), None],
            (Resize::Resize, _) => [Some(2), Some(3)],
        }
    }

    pub fn sizes_at(op: Resize, site: &Site) -> Option<usize> {
        Self::places(op, site)[1]
    }

    /// What is known of the request before a run.
    pub fn known(op: Resize, site: &Site, inputs: &Known) -> Option<Self> {
        let [scales, sizes] = Self::places(op, site);
        let floats = |index: usize| -> Option<Vec<f64>> {
            let values = HostTensor::to_f32(inputs.constants.get(index).copied().flatten()?)?;
            Some(values.into_iter().map(f64::from).collect())
        };
        let scales = scales.and_then(floats).or_else(|| attribute(site));
        let sizes = sizes.and_then(|index| inputs.integers(index));
        // Sizes do not depend on the region.
        let entries = scales.as_ref().map_or(0, Vec::len).max(sizes.as_ref().map_or(0, Vec::len));
        Self { scales, sizes, region: vec![0.0; 2 * entries] }.checked()
    }

    /// The request in a run.
    pub fn given(op: Resize, site: &Site, inputs: &[Option<Tensor>]) -> Result<Option<Self>, OpError> {
        let [scales, sizes] = Self::places(op, site);
        let input = |index: Option<usize>| inputs.get(index?).and_then(Option::as_ref);
        let scales = input(scales).map(host::constants).transpose()?.or_else(|| attribute(site));
        let sizes = input(sizes).map(|sizes| shapes::integers(site, sizes)).transpose()?;
        let region = if sizes.is_some() || site.opset >= 11 { input(Some(1)) } else { None };
        let region = region.map(host::constants).transpose()?.unwrap_or_default();
        Ok(Self { scales, sizes, region }.checked())
    }

    /// Empty lists stand for absent ones.
    fn checked(mut self) -> Option<Self> {
        self.scales = self.scales.filter(|scales| !scales.is_empty());
        self.sizes = self.sizes.filter(|sizes| !sizes.is_empty());
        (self.scales.is_some() || self.sizes.is_some()).then_some(self)
    }

    /// Axes that the entries of the request belong to.
    fn named_axes(&self, site: &Site, rank: usize) -> Result<Vec<usize>, OpError> {
        let axes = match site.node.ints("axes") {
            Some(axes) if !axes.is_empty() => shapes::axes(site, axes, rank)?,
            _ => (0..rank).collect(),
        };
        let entries = self.scales.as_ref().map(Vec::len).or(self.sizes.as_ref().map(Vec::len)).unwrap_or(0);
        if entries != axes.len() {
            return Err(site.refuse(format!("{entries} scales or sizes for {} axes", axes.len())));
        }
        Ok(axes)
    }

    /// The output's dimensions, as far as they follow from what is known of the input's.
    pub fn dims(&self, site: &Site, x: &[Dim]) -> Result<Vec<Dim>, OpError> {
        let known: Option<Vec<usize>> = x.iter().map(Dim::known).collect();
        let mut dims = x.to_vec();
        if let Some(known) = known {
            for axis in self.axes(site, &known)? {
                dims[axis.axis] = Dim::Known(axis.output);
            }
            return Ok(dims);
        }
        let stretched = site.node.text("keep_aspect_ratio_policy").unwrap_or("stretch") == "stretch";
        for (entry, axis) in self.named_axes(site, x.len())?.into_iter().enumerate() {
            dims[axis] = match (&self.scales, &self.sizes, &x[axis]) {
                (Some(scales), _, Dim::Known(size)) => Dim::Known(scaled(*size, scales[entry])),
                (Some(scales), _, dim) if scales[entry] == 1.0 => dim.clone(),
                (None, Some(sizes), _) if stretched => {
                    usize::try_from(sizes[entry]).map_or(Dim::Unknown, Dim::Known)
                }
                _ => Dim::Unknown,
            };
        }
        Ok(dims)
    }

    /// The axes that change, for an input of this shape.
    pub fn axes(&self, site: &Site, x: &[usize]) -> Result<Vec<Axis>, OpError> {
        let named = self.named_axes(site, x.len())?;
        let crops = site.node.text("coordinate_transformation_mode") == Some("tf_crop_and_resize");
        if crops && self.region.len() != 2 * named.len() {
            return Err(site.refuse("tf_crop_and_resize needs a start and an end for each axis"));
        }
        let common = self.common_scale(site, x, &named)?;
        let mut axes = Vec::new();
        for (entry, axis) in named.iter().copied().enumerate() {
            let input = x[axis];
            let (scale, output) = match (&self.scales, &self.sizes, common) {
                (Some(scales), _, _) => (scales[entry], scaled(input, scales[entry])),
                (None, Some(_), Some(scale)) => (scale, (scale * input as f64 + 0.5).floor() as usize),
                (None, Some(sizes), None) => {
                    let size = usize::try_from(sizes[entry]);
                    let size = size.map_err(|_| site.refuse(format!("a size cannot be {}", sizes[entry])))?;
                    (size as f64 / input.max(1) as f64, size)
                }
                (None, None, _) => continue,
            };
            let possible = scale > 0.0 && scale.is_finite() && input > 0;
            if output > 0 && !possible {
                return Err(site.refuse(format!("{input} elements cannot become {output}")));
            }
            if output > u32::MAX as usize {
                return Err(site.refuse(format!("an axis of {output} elements is too long")));
            }
            let region = match crops {
                true => [self.region[entry], self.region[entry + named.len()]],
                false => [0.0, 1.0],
            };
            if crops || scale != 1.0 || output != input {
                axes.push(Axis { axis, input, output, scale, region });
            }
        }
        Ok(axes)
    }

    /// The one scale of all axes, where sizes are asked for and the aspect ratio is to be kept.
    fn common_scale(&self, site: &Site, x: &[usize], named: &[usize]) -> Result<Option<f64>, OpError> {
        let Some(sizes) = self.sizes.as_ref().filter(|_| self.scales.is_none()) else { return Ok(None) };
        let scales = named.iter().zip(sizes).map(|(axis, size)| *size as f64 / x[*axis].max(1) as f64);
        Ok(match site.node.text("keep_aspect_ratio_policy").unwrap_or("stretch") {
            "stretch" => None,
            "not_larger" => Some(scales.fold(f64::INFINITY, f64::min)),
            "not_smaller" => Some(scales.fold(0.0, f64::max)),
            other => {
                let why = format!("\"{other}\" is not stretch, not_larger or not_smaller");
                let op = site.node.op.clone();
                return Err(OpError::Attribute { op, name: "keep_aspect_ratio_policy", why });
            }
        })
    }
}

/// Scales as `Upsample` had them before version 9.
fn attribute(site: &Site) -> Option<Vec<f64>> {
    match site.node.attributes.get("scales")? {
        refit_graph::Attribute::Floats(scales) => Some(scales.iter().copied().map(f64::from).collect()),
        _ => None,
    }
}

fn scaled(size: usize, scale: f64) -> usize {
    (size as f64 * scale).floor() as usize
}
