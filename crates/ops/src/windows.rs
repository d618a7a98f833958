//! Windows that slide over spatial dimensions: the attributes that convolutions and pools share.

use crate::{OpError, Site};
use refit_graph::Dim;

/// Kernel, strides, dilations and padding, each with one entry for each spatial dimension.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    padding: Padding,
    /// Whether a last window that is only partly filled counts.
    pub ceil: bool,
}

#[derive(Debug, Clone)]
enum Padding {
    Given(Vec<(usize, usize)>),
    /// As much as makes the output `input / stride` long, the odd element at the end.
    Upper,
    /// The same, the odd element at the beginning.
    Lower,
}

/// What a window does to one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub before: usize,
    pub after: usize,
    pub output: usize,
}

impl Windows {
    /// The attributes of a node with these kernel sizes.
    pub fn new(site: &Site, kernel: Vec<usize>) -> Result<Self, OpError> {
        let rank = kernel.len();
        let strides = list(site, "strides", rank)?.unwrap_or_else(|| vec![1; rank]);
        let dilations = list(site, "dilations", rank)?.unwrap_or_else(|| vec![1; rank]);
        if kernel.iter().chain(&strides).chain(&dilations).any(|n| *n == 0) {
            return Err(site.refuse("kernel, strides and dilations must be larger than 0"));
        }
        let padding = match site.node.text("auto_pad").unwrap_or("NOTSET") {
            "SAME_UPPER" => Padding::Upper,
            "SAME_LOWER" => Padding::Lower,
            "VALID" => Padding::Given(vec![(0, 0); rank]),
            "NOTSET" => {
                let pads = list(site, "pads", 2 * rank)?.unwrap_or_else(|| vec![0; 2 * rank]);
                Padding::Given((0..rank).map(|axis| (pads[axis], pads[axis + rank])).collect())
            }
            other => {
                let why = format!("\"{other}\" is not NOTSET, VALID, SAME_UPPER or SAME_LOWER");
                return Err(OpError::Attribute { op: site.node.op.clone(), name: "auto_pad", why });
            }
        };
        let ceil = site.node.int("ceil_mode").unwrap_or(0) != 0;
        Ok(Self { kernel, strides, dilations, padding, ceil })
    }

    /// The attributes of a pool, which names its kernel.
    pub fn of_pool(site: &Site) -> Result<Self, OpError> {
        let kernel = site.node.ints("kernel_shape").ok_or_else(|| OpError::Attribute {
            op: site.node.op.clone(),
            name: "kernel_shape",
            why: "it is required".to_owned(),
        })?;
        Self::new(site, crate::shapes::sizes(site, kernel)?)
    }

    /// Elements from the first to the last of a window.
    pub fn extent(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    /// Padding and output of a dimension of `input` elements.
    pub fn span(&self, site: &Site, axis: usize, input: usize) -> Result<Span, OpError> {
        let (extent, stride) = (self.extent(axis), self.strides[axis]);
        let (before, after) = match &self.padding {
            Padding::Given(pads) => pads[axis],
            same => {
                let output = input.div_ceil(stride);
                let total = (output.saturating_sub(1) * stride + extent).saturating_sub(input);
                let half = total / 2;
                let lower = matches!(same, Padding::Lower);
                let pads = if lower { (total - half, half) } else { (half, total - half) };
                return Ok(Span { before: pads.0, after: pads.1, output });
            }
        };
        let padded = input + before + after;
        let Some(room) = padded.checked_sub(extent) else {
            return Err(site.refuse(format!(
                "a window of {extent} elements does not fit into {padded} (padding included)"
            )));
        };
        let mut output = if self.ceil { room.div_ceil(stride) } else { room / stride } + 1;
        // A window that would start in the padding behind is left out.
        if self.ceil && (output - 1) * stride >= input + before {
            output -= 1;
        }
        Ok(Span { before, after, output })
    }

    /// All dimensions at once.
    pub fn spans(&self, site: &Site, input: &[usize]) -> Result<Vec<Span>, OpError> {
        if input.len() != self.kernel.len() {
            let (axes, given) = (input.len(), self.kernel.len());
            return Err(site.refuse(format!("a kernel of {given} dimensions for {axes} spatial dimensions")));
        }
        input.iter().enumerate().map(|(axis, size)| self.span(site, axis, *size)).collect()
    }

    /// The output of a dimension before a run: a size that stays the same keeps its name.
    pub fn dim(&self, site: &Site, axis: usize, input: &Dim) -> Result<Dim, OpError> {
        let keeps = self.strides[axis] == 1
            && match &self.padding {
                Padding::Given(pads) => pads[axis].0 + pads[axis].1 + 1 == self.extent(axis),
                _ => true,
            };
        Ok(match input {
            Dim::Known(size) => Dim::Known(self.span(site, axis, *size)?.output),
            dim if keeps => dim.clone(),
            _ => Dim::Unknown,
        })
    }
}

/// A list of sizes as an attribute, which must have `len` entries where it is given.
pub(crate) fn list(site: &Site, name: &'static str, len: usize) -> Result<Option<Vec<usize>>, OpError> {
    let Some(values) = site.node.ints(name).filter(|values| !values.is_empty()) else { return Ok(None) };
    let sizes: Option<Vec<usize>> = values.iter().map(|v| usize::try_from(*v).ok()).collect();
    match sizes {
        Some(sizes) if sizes.len() == len => Ok(Some(sizes)),
        _ => {
            let why = format!("{values:?} is no list of {len} sizes");
            Err(OpError::Attribute { op: site.node.op.clone(), name, why })
        }
    }
}

/// Sizes of up to three spatial dimensions, with leading `fill`.
pub(crate) fn three(site: &Site, sizes: &[usize], fill: usize) -> Result<[usize; 3], OpError> {
    if sizes.len() > 3 {
        return Err(site.refuse(format!("{} spatial dimensions; at most 3 are supported", sizes.len())));
    }
    let mut padded = [fill; 3];
    padded[3 - sizes.len()..].copy_from_slice(sizes);
    Ok(padded)
}
