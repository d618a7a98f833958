//! `ConvTranspose(x, weight, bias?)`: the reverse rule of a convolution as a forward pass. Its own reverse
//! rules are that convolution and its weight's gradient, with the sides exchanged.

use super::conv::{check_ranks, groups, on_device, reads, with_bias};
use crate::device::conv::Convolution;
use crate::kernels::conv::{self, Sizes};
use crate::kernels::slices;
use crate::shapes::{of_type, shaped};
use crate::windows::{Windows, list, three};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::Tensor;
use refit_graph::{Attribute, Dim, Fact, OpName};

pub(crate) struct ConvTranspose;

impl Operator for ConvTranspose {
    fn name(&self) -> OpName {
        OpName::standard("ConvTranspose")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (x, weight) = (inputs.fact(0), inputs.fact(1));
        let (Some(x_dims), Some(w_dims)) = (&x.shape, &weight.shape) else {
            return Ok(vec![of_type(x.dtype)]);
        };
        check_ranks(site, x_dims.len(), w_dims.len())?;
        let channels = w_dims[1].known().map(|of_group| groups(site).map(|groups| of_group * groups));
        let channels = channels.transpose()?.map_or(Dim::Unknown, Dim::Known);
        let mut shape = vec![x_dims[0].clone(), channels];
        let known = |dims: &[Dim]| dims[2..].iter().map(Dim::known).collect::<Option<Vec<_>>>();
        match (known(x_dims), known(w_dims)) {
            (Some(input), Some(kernel)) => {
                let made = spans(site, &input, kernel)?;
                shape.extend(made.1.into_iter().map(|(output, _)| Dim::Known(output)));
            }
            _ => shape.resize(x_dims.len(), Dim::Unknown),
        }
        Ok(vec![shaped(x.dtype, Some(shape))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, weight) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let sizes = sizes(site, x.dims(), weight.dims())?;
        let bias = inputs.get(2).and_then(Option::as_ref);
        if bias.is_some_and(|bias| bias.elem_count() != sizes.in_channels) {
            return Err(site.refuse("the bias does not have one element for each output channel"));
        }
        let mut shape = vec![sizes.batch, sizes.in_channels];
        shape.extend_from_slice(&sizes.input[5 - x.rank()..]);
        if !slices::is_cpu(x) {
            let y = Convolution::new(&sizes).input_gradient(x, weight)?;
            return Ok(vec![with_bias(&y, bias)?.reshape(shape)?]);
        }
        let mut y = host::with2(x, weight, |x, w| conv::input_gradient(x, w, &sizes))?;
        if let Some(bias) = bias {
            let (channels, positions) = (sizes.in_channels, sizes.input_len().max(1));
            host::with(bias, |bias| {
                for (plane, y) in y.chunks_exact_mut(positions).enumerate() {
                    y.iter_mut().for_each(|y| *y += bias[plane % channels]);
                }
            })?;
        }
        Ok(vec![host::tensor(y, &shape, x)?])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        Some(reads(wanted))
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let sizes = sizes(site, &back.input_shapes[0], &back.input_shapes[1])?;
        if !slices::is_cpu(gradient) {
            let convolution = Convolution::new(&sizes);
            let of_data = |weight: &Tensor| convolution.forward(gradient, weight);
            let of_weight = |x: &Tensor| convolution.weight_gradient(gradient, x);
            return on_device(site, back, sizes.in_channels, of_data, of_weight);
        }
        let mut gradients = vec![None; back.input_shapes.len()];
        if back.wants(0) {
            let weight = site.required(back.inputs, 1)?;
            let dx = host::with2(gradient, weight, |g, w| conv::forward(g, w, &[], &sizes))?;
            gradients[0] = Some(host::tensor(dx, &back.input_shapes[0], gradient)?);
        }
        if back.wants(1) {
            let x = site.required(back.inputs, 0)?;
            let dw = host::with2(gradient, x, |g, x| conv::weight_gradient(g, x, &sizes))?;
            gradients[1] = Some(host::tensor(dw, &back.input_shapes[1], gradient)?);
        }
        if back.wants(2) {
            // The gradient has the shape of this convolution's input.
            let of_gradient = Sizes { out_channels: sizes.in_channels, output: sizes.input, ..sizes };
            let db = host::with(gradient, |g| conv::bias_gradient(g, &of_gradient))?;
            gradients[2] = Some(host::tensor(db, &back.input_shapes[2], gradient)?);
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |what, x: &[usize], w: &[usize]| Problem::new(what).random(x).random(w);
        vec![
            problem("plain, bias", &[2, 3, 3, 4], &[3, 2, 3, 2]).random(&[2]),
            problem("strided, padded, with more behind", &[2, 2, 3, 4], &[2, 3, 3, 3])
                .ints("strides", &[2, 3])
                .ints("pads", &[1, 0, 1, 2])
                .ints("output_padding", &[1, 0]),
            problem("two groups, dilated", &[1, 4, 3, 3], &[4, 2, 2, 3])
                .random(&[4])
                .int("group", 2)
                .ints("dilations", &[2, 2]),
            problem("depthwise", &[2, 3, 4, 3], &[3, 1, 2, 2]).int("group", 3).ints("strides", &[2, 2]),
            problem("one dimension, a batch", &[3, 2, 5], &[2, 2, 4]).ints("strides", &[2]),
            problem("a given size", &[1, 1, 3, 3], &[1, 2, 3, 3])
                .ints("strides", &[3, 2])
                .ints("output_shape", &[10, 8]),
            problem("same size, lower", &[1, 1, 3, 3], &[1, 2, 3, 3])
                .ints("strides", &[2, 2])
                .attribute("auto_pad", Attribute::String(b"SAME_LOWER".as_slice().into())),
            problem("an empty batch", &[0, 2, 3, 3], &[2, 2, 3, 3]),
        ]
    }
}

/// For each spatial dimension the output's size and the padding in front.
fn spans(
    site: &Site,
    input: &[usize],
    kernel: Vec<usize>,
) -> Result<(Windows, Vec<(usize, usize)>), OpError> {
    let rank = kernel.len();
    let windows = Windows::new(site, kernel)?;
    let extra = list(site, "output_padding", rank)?.unwrap_or_else(|| vec![0; rank]);
    let pads = list(site, "pads", 2 * rank)?.unwrap_or_else(|| vec![0; 2 * rank]);
    let how = site.node.text("auto_pad").unwrap_or("NOTSET");
    let same = how.starts_with("SAME");
    // Some exporters give batch and channels too.
    let given = site.node.ints("output_shape").filter(|shape| shape.len() >= rank);
    let given = given.map(|shape| crate::shapes::sizes(site, &shape[shape.len() - rank..])).transpose()?;
    let span = |axis: usize| -> Result<(usize, usize), OpError> {
        let full = (input[axis].max(1) - 1) * windows.strides[axis] + windows.extent(axis) + extra[axis];
        let target = match &given {
            Some(given) => Some(given[axis]),
            None if same => Some(input[axis] * windows.strides[axis]),
            None => None,
        };
        if let Some(target) = target {
            let total = full.saturating_sub(target);
            let before = if how == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) };
            return Ok((target, before));
        }
        let (before, after) = if how == "VALID" { (0, 0) } else { (pads[axis], pads[axis + rank]) };
        let output = full.checked_sub(before + after);
        output.map(|output| (output, before)).ok_or_else(|| site.refuse("more padding than output"))
    };
    let made = (0..rank).map(span).collect::<Result<_, _>>()?;
    Ok((windows, made))
}

/// The convolution whose reverse rule this is: from the output of this operator to its input.
fn sizes(site: &Site, x: &[usize], weight: &[usize]) -> Result<Sizes, OpError> {
    check_ranks(site, x.len(), weight.len())?;
    let groups = groups(site)?;
    if x[1] != weight[0] || !x[1].is_multiple_of(groups) {
        return Err(
            site.refuse(format!("{} channels for a weight of {} in {groups} group(s)", x[1], weight[0]))
        );
    }
    let (windows, spans) = spans(site, &x[2..], weight[2..].to_vec())?;
    let (outputs, pads): (Vec<usize>, Vec<usize>) = spans.into_iter().unzip();
    Ok(Sizes {
        batch: x[0],
        in_channels: weight[1] * groups,
        out_channels: x[1],
        groups,
        input: three(site, &outputs, 1)?,
        output: three(site, &x[2..], 1)?,
        kernel: three(site, &windows.kernel, 1)?,
        strides: three(site, &windows.strides, 1)?,
        dilations: three(site, &windows.dilations, 1)?,
        pads: three(site, &pads, 0)?,
    })
}
