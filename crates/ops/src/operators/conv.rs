//! `Conv(x, weight, bias?)`: one to three spatial dimensions, groups, strides, dilations and padding.

use crate::device::conv::{Convolution, bias_gradient};
use crate::kernels::conv::{self, Sizes};
use crate::kernels::slices;
use crate::shapes::{of_type, shaped};
use crate::windows::{Windows, list, three};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::Tensor;
use refit_graph::{Attribute, Dim, Fact, OpName};

pub(crate) struct Conv;

impl Operator for Conv {
    fn name(&self) -> OpName {
        OpName::standard("Conv")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (x, weight) = (inputs.fact(0), inputs.fact(1));
        let (Some(x_dims), Some(w_dims)) = (&x.shape, &weight.shape) else {
            return Ok(vec![of_type(x.dtype)]);
        };
        check_ranks(site, x_dims.len(), w_dims.len())?;
        if let (Dim::Known(channels), Dim::Known(of_group)) = (&x_dims[1], &w_dims[1]) {
            check_channels(site, *channels, *of_group)?;
        }
        let mut shape = vec![x_dims[0].clone(), w_dims[0].clone()];
        match w_dims[2..].iter().map(Dim::known).collect::<Option<Vec<_>>>() {
            Some(kernel) => {
                let windows = Windows::new(site, kernel)?;
                for (axis, dim) in x_dims[2..].iter().enumerate() {
                    shape.push(windows.dim(site, axis, dim)?);
                }
            }
            None => shape.resize(x_dims.len(), Dim::Unknown),
        }
        Ok(vec![shaped(x.dtype, Some(shape))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, weight) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let sizes = sizes(site, x.dims(), weight.dims())?;
        let bias = inputs.get(2).and_then(Option::as_ref);
        if bias.is_some_and(|bias| bias.elem_count() != sizes.out_channels) {
            return Err(site.refuse("the bias does not have one element for each output channel"));
        }
        let shape = output_shape(&sizes, x.rank());
        if !slices::is_cpu(x) {
            let y = Convolution::new(&sizes).forward(x, weight)?;
            return Ok(vec![with_bias(&y, bias)?.reshape(shape)?]);
        }
        let y = match bias {
            Some(bias) => host::with3([x, weight, bias], |x, w, b| conv::forward(x, w, b, &sizes))?,
            None => host::with2(x, weight, |x, w| conv::forward(x, w, &[], &sizes))?,
        };
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
            let of_data = |weight: &Tensor| convolution.input_gradient(gradient, weight);
            let of_weight = |x: &Tensor| convolution.weight_gradient(x, gradient);
            return on_device(site, back, sizes.out_channels, of_data, of_weight);
        }
        let mut gradients = vec![None; back.input_shapes.len()];
        if back.wants(0) {
            let weight = site.required(back.inputs, 1)?;
            let dx = host::with2(gradient, weight, |g, w| conv::input_gradient(g, w, &sizes))?;
            gradients[0] = Some(host::tensor(dx, &back.input_shapes[0], gradient)?);
        }
        if back.wants(1) {
            let x = site.required(back.inputs, 0)?;
            let dw = host::with2(x, gradient, |x, g| conv::weight_gradient(x, g, &sizes))?;
            gradients[1] = Some(host::tensor(dw, &back.input_shapes[1], gradient)?);
        }
        if back.wants(2) {
            let db = host::with(gradient, |g| conv::bias_gradient(g, &sizes))?;
            gradients[2] = Some(host::tensor(db, &back.input_shapes[2], gradient)?);
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |what, x: &[usize], w: &[usize]| Problem::new(what).random(x).random(w);
        let same = |how: &'static str| Attribute::String(how.as_bytes().into());
        vec![
            problem("3 x 3, padded, bias", &[2, 3, 5, 4], &[4, 3, 3, 3]).random(&[4]).ints("pads", &[1; 4]),
            problem("pointwise", &[3, 5, 3, 3], &[2, 5, 1, 1]),
            problem("a batch and strides that leave a remainder", &[3, 2, 6, 7], &[3, 2, 3, 2])
                .ints("strides", &[2, 3])
                .ints("pads", &[1, 0, 0, 2]),
            problem("dilated, two groups", &[2, 4, 7, 6], &[6, 2, 2, 3])
                .int("group", 2)
                .ints("dilations", &[3, 2]),
            problem("depthwise", &[2, 3, 5, 6], &[3, 1, 3, 3])
                .random(&[3])
                .int("group", 3)
                .ints("pads", &[1; 4]),
            problem("depthwise, multiplied, strided and dilated", &[2, 2, 7, 8], &[4, 1, 2, 3])
                .int("group", 2)
                .ints("strides", &[2, 2])
                .ints("dilations", &[2, 1])
                .ints("pads", &[1, 2, 0, 1]),
            problem("one dimension, a batch", &[3, 2, 9], &[3, 2, 4]).random(&[3]).ints("strides", &[2]),
            problem("one dimension, causal", &[2, 2, 6], &[2, 2, 3])
                .ints("pads", &[4, 0])
                .ints("dilations", &[2]),
            problem("three dimensions", &[1, 2, 3, 4, 3], &[2, 2, 2, 3, 2]).ints("pads", &[1, 0, 1, 0, 1, 0]),
            problem("same size, upper", &[1, 2, 5, 6], &[2, 2, 2, 3])
                .attribute("auto_pad", same("SAME_UPPER")),
            problem("same size, lower, strided", &[1, 2, 5, 6], &[2, 2, 2, 3])
                .attribute("auto_pad", same("SAME_LOWER"))
                .ints("strides", &[2, 2]),
            problem("valid", &[1, 1, 4, 4], &[1, 1, 3, 2]).attribute("auto_pad", same("VALID")).opset(11),
            problem("a kernel that reaches only padding", &[1, 1, 2, 2], &[2, 1, 3, 3])
                .ints("pads", &[3, 3, 3, 3]),
            problem("an empty batch", &[0, 2, 4, 4], &[3, 2, 3, 3]).random(&[3]),
        ]
    }
}

/// The gradients that are wanted, on a device: `of_data` from the weight, `of_weight` from the data, that of the bias from
/// the `channels` of the output.
pub(super) fn on_device(
    site: &Site,
    back: &Backward,
    channels: usize,
    of_data: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
    of_weight: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<Vec<Option<Tensor>>, OpError> {
    let mut gradients = vec![None; back.input_shapes.len()];
    if back.wants(0) {
        gradients[0] = Some(of_data(site.required(back.inputs, 1)?)?);
    }
    if back.wants(1) {
        gradients[1] = Some(of_weight(site.required(back.inputs, 0)?)?);
    }
    if back.wants(2) {
        gradients[2] = Some(bias_gradient(site.required(back.gradients, 0)?, channels)?);
    }
    let shaped = gradients.into_iter().zip(back.input_shapes);
    shaped.map(|(made, shape)| Ok(made.map(|made| made.reshape(shape.as_slice())).transpose()?)).collect()
}

/// `y` of [batch, channels, positions] and a number for each channel.
pub(super) fn with_bias(y: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, OpError> {
    let Some(bias) = bias else { return Ok(y.clone()) };
    Ok(y.broadcast_add(&bias.reshape((1, y.dim(1)?, 1))?)?)
}

/// What the reverse rules of both convolutions read: each gradient the other factor, the bias nothing.
pub(super) fn reads(wanted: &[bool]) -> Reads {
    let wants = |index: usize| wanted.get(index).copied().unwrap_or(false);
    let mut inputs = Vec::new();
    inputs.extend(wants(1).then_some(0));
    inputs.extend(wants(0).then_some(1));
    Reads { inputs, outputs: Vec::new() }
}

pub(super) fn groups(site: &Site) -> Result<usize, OpError> {
    let group = site.node.int("group").unwrap_or(1);
    usize::try_from(group).ok().filter(|group| *group > 0).ok_or_else(|| OpError::Attribute {
        op: site.node.op.clone(),
        name: "group",
        why: format!("{group} is no number of groups"),
    })
}

pub(super) fn check_ranks(site: &Site, x: usize, weight: usize) -> Result<(), OpError> {
    if x == weight && x >= 3 {
        return Ok(());
    }
    let why =
        format!("an input of {x} dimensions and a weight of {weight}: both need batch, channels and space");
    Err(site.refuse(why))
}

fn check_channels(site: &Site, channels: usize, of_group: usize) -> Result<(), OpError> {
    let groups = groups(site)?;
    if channels == of_group * groups {
        return Ok(());
    }
    Err(site.refuse(format!("{channels} channels for {groups} group(s) of {of_group}")))
}

fn sizes(site: &Site, x: &[usize], weight: &[usize]) -> Result<Sizes, OpError> {
    check_ranks(site, x.len(), weight.len())?;
    check_channels(site, x[1], weight[1])?;
    let groups = groups(site)?;
    if !weight[0].is_multiple_of(groups) {
        return Err(site.refuse(format!("{} output channels in {groups} groups", weight[0])));
    }
    if list(site, "kernel_shape", x.len() - 2)?.is_some_and(|kernel| kernel != weight[2..]) {
        return Err(site.refuse(format!("kernel_shape is not that of the weight, {:?}", &weight[2..])));
    }
    let windows = Windows::new(site, weight[2..].to_vec())?;
    let spans = windows.spans(site, &x[2..])?;
    let of = |pick: fn(&crate::windows::Span) -> usize| spans.iter().map(pick).collect::<Vec<_>>();
    Ok(Sizes {
        batch: x[0],
        in_channels: x[1],
        out_channels: weight[0],
        groups,
        input: three(site, &x[2..], 1)?,
        output: three(site, &of(|span| span.output), 1)?,
        kernel: three(site, &windows.kernel, 1)?,
        strides: three(site, &windows.strides, 1)?,
        dilations: three(site, &windows.dilations, 1)?,
        pads: three(site, &of(|span| span.before), 0)?,
    })
}

fn output_shape(sizes: &Sizes, rank: usize) -> Vec<usize> {
    let mut shape = vec![sizes.batch, sizes.out_channels];
    shape.extend_from_slice(&sizes.output[5 - rank..]);
    shape
}
