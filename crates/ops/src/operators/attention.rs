//! `refit.Attention(q, k, v, mask?, bias?)`: multi-head attention over [batch, sequence, heads * width].
//!
//! Both are added to the scores: the mask, broadcast to [batch, heads, queries, keys], is a constant of the
//! batch; the bias (relative positions), broadcast to [heads, queries, keys], can be trained.

use crate::kernels::attention::{self, Inputs, Mask, Sizes};
use crate::kernels::slices;
use crate::shapes::{broadcast_to, of_type, shaped, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{D, DType, Tensor};
use refit_graph::{Fact, OpName};

pub(crate) struct Attention;

impl Operator for Attention {
    fn name(&self) -> OpName {
        OpName::refit("Attention")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (query, value) = (inputs.fact(0), inputs.fact(2));
        let (Some(query_dims), Some(value_dims)) = (&query.shape, &value.shape) else {
            return Ok(vec![of_type(query.dtype)]);
        };
        let ([batch, sequence, _], [_, _, hidden]) = (query_dims.as_slice(), value_dims.as_slice()) else {
            return Err(site.refuse("queries, keys and values need three dimensions"));
        };
        Ok(vec![shaped(query.dtype, Some(vec![batch.clone(), sequence.clone(), hidden.clone()]))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (q, k, v) = (site.required(inputs, 0)?, site.required(inputs, 1)?, site.required(inputs, 2)?);
        let sizes = sizes(site, q.dims(), k.dims(), v.dims())?;
        let added = Added::of(site, inputs, &sizes)?;
        if slices::is_cpu_f32(q) && slices::is_cpu_f32(k) && slices::is_cpu_f32(v) {
            let y = with_slices([q, k, v], &added, |inputs| attention::forward(inputs, sizes))?;
            return Ok(vec![Tensor::from_vec(y, q.dims(), q.device())?]);
        }
        let p = probabilities(&sizes, q, k, &added)?.to_dtype(v.dtype())?;
        Ok(vec![merge(&p.matmul(&heads(&sizes, v)?)?)?])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        match wanted.get(3) {
            Some(true) => None,
            _ => Reads::inputs(&[0, 1, 2, 3, 4]),
        }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let input = |index| site.required(back.inputs, index);
        let (q, k, v) = (input(0)?, input(1)?, input(2)?);
        let gradient = site.required(back.gradients, 0)?.contiguous()?;
        let sizes = sizes(site, q.dims(), k.dims(), v.dims())?;
        let added = Added::of(site, back.inputs, &sizes)?;
        let (made, bias) = if slices::is_cpu_f32(&gradient) && slices::is_cpu_f32(q) {
            let (made, bias) = with_slices([q, k, v], &added, |inputs| {
                slices::with(&gradient, |gradient| match back.wants(4) {
                    true => {
                        let (made, bias) = attention::backward_with_bias(inputs, gradient, sizes);
                        (made, Some(bias))
                    }
                    false => (attention::backward(inputs, gradient, sizes), None),
                })
            })??;
            let scores = (sizes.heads, sizes.queries, sizes.keys);
            let bias = bias.map(|bias| Tensor::from_vec(bias, scores, q.device())).transpose()?;
            let made = [
                Tensor::from_vec(made.query, q.dims(), q.device())?,
                Tensor::from_vec(made.key, k.dims(), k.device())?,
                Tensor::from_vec(made.value, v.dims(), v.device())?,
            ];
            (made, bias)
        } else {
            let (made, dscores) = on_device([q, k, v], &added, &gradient, &sizes)?;
            (made, if back.wants(4) { Some(dscores.sum(0)?) } else { None })
        };
        let of_input = |bias: Tensor| {
            Ok::<_, OpError>(sum_to(&bias, &back.input_shapes[4])?.to_dtype(back.input_types[4])?)
        };
        let bias = bias.map(of_input).transpose()?;
        Ok(made.into_iter().map(Some).chain([None, bias]).collect())
    }

    fn problems(&self) -> Vec<Problem> {
        let qkv = |what, batch| {
            let problem = Problem::new(what).random(&[batch, 3, 6]).random(&[batch, 5, 6]);
            problem.random(&[batch, 5, 6]).int("num_heads", 2)
        };
        let padding = [0.0, 0.0, -1e4, 0.0, -0.5, 0.0, 0.0, 0.0, 0.0, -1e4];
        vec![
            qkv("no mask", 2),
            qkv("padding", 2).floats(&[2, 1, 1, 5], &padding).float("scale", 0.3),
            qkv("a mask of its own for each score", 1).random(&[1, 2, 3, 5]),
            qkv("one column of mask", 1).random(&[3, 1]),
            qkv("a bias for each head", 2).absent().random(&[2, 3, 5]),
            qkv("a bias beside padding", 2).floats(&[2, 1, 1, 5], &padding).random(&[1, 3, 5]),
            qkv("one row of bias", 1).absent().random(&[5]),
            qkv("an empty batch", 0),
            qkv("an empty batch with a bias", 0).absent().random(&[2, 3, 5]),
        ]
    }
}

fn sizes(site: &Site, q: &[usize], k: &[usize], v: &[usize]) -> Result<Sizes, OpError> {
    let ([batch, queries, hidden], [_, keys, _]) = (q, k) else {
        return Err(site.refuse("queries, keys and values need three dimensions"));
    };
    if k != v || k[0] != *batch || k[2] != *hidden {
        return Err(site.refuse(format!("queries {q:?}, keys {k:?} and values {v:?} do not belong together")));
    }
    let heads = site.node.int("num_heads").and_then(|heads| usize::try_from(heads).ok()).unwrap_or(0);
    if heads == 0 || !hidden.is_multiple_of(heads) || *keys == 0 || *hidden == 0 {
        return Err(site.refuse(format!("{hidden} cannot be shared among {heads} heads over {keys} keys")));
    }
    let width = hidden / heads;
    let scale = site.node.float("scale").unwrap_or_else(|| 1.0 / (width as f32).sqrt());
    Ok(Sizes { batch: *batch, heads, queries: *queries, keys: *keys, width, scale })
}

/// What is added to the scores, as the kernels take it.
struct Added {
    /// With its strides over batch, heads and queries.
    mask: Option<(Tensor, [usize; 3])>,
    /// [heads, queries, keys].
    bias: Option<Tensor>,
}

impl Added {
    fn of(site: &Site, inputs: &[Option<Tensor>], sizes: &Sizes) -> Result<Self, OpError> {
        let input = |index: usize| inputs.get(index).and_then(Option::as_ref);
        Ok(Self {
            mask: input(3).map(|mask| expand_keys(site, mask, sizes)).transpose()?,
            bias: input(4).map(|bias| expand_bias(site, bias, sizes)).transpose()?,
        })
    }
}

fn with_slices<R>(tensors: [&Tensor; 3], added: &Added, f: impl FnOnce(Inputs) -> R) -> Result<R, OpError> {
    let [q, k, v] = [tensors[0].contiguous()?, tensors[1].contiguous()?, tensors[2].contiguous()?];
    let run = |mask: Option<Mask>, bias: Option<&[f32]>| {
        let with_keys = |query: &[f32], key: &[f32]| {
            slices::with(&v, |value| f(Inputs { query, key, value, mask, bias }))
        };
        slices::with(&q, |query| slices::with(&k, |key| with_keys(query, key)).flatten()).flatten()
    };
    let masked = |bias: Option<&[f32]>| match &added.mask {
        Some((mask, strides)) => {
            slices::with(mask, |data| run(Some(Mask { data, strides: *strides }), bias)).flatten()
        }
        None => run(None, bias),
    };
    Ok(match &added.bias {
        Some(bias) => slices::with(bias, |bias| masked(Some(bias))).flatten()?,
        None => masked(None)?,
    })
}

fn expand_bias(site: &Site, bias: &Tensor, sizes: &Sizes) -> Result<Tensor, OpError> {
    let full = [sizes.heads, sizes.queries, sizes.keys];
    let fits = bias.rank() <= 3
        && bias.dims().iter().rev().zip(full.iter().rev()).all(|(bias, full)| *bias == 1 || bias == full);
    if !fits {
        return Err(site.refuse(format!("a bias of {:?} cannot be broadcast to {full:?}", bias.dims())));
    }
    Ok(broadcast_to(bias, &full)?.contiguous()?)
}

/// The mask with its keys contiguous, and its strides over batch, heads and queries.
fn expand_keys(site: &Site, mask: &Tensor, sizes: &Sizes) -> Result<(Tensor, [usize; 3]), OpError> {
    let full = [sizes.batch, sizes.heads, sizes.queries, sizes.keys];
    let fits = mask.rank() <= 4
        && mask.dims().iter().rev().zip(full.iter().rev()).all(|(mask, full)| *mask == 1 || mask == full);
    if !fits {
        return Err(site.refuse(format!("a mask of {:?} cannot be broadcast to {full:?}", mask.dims())));
    }
    let mut dims = [1; 4];
    dims[4 - mask.rank()..].copy_from_slice(mask.dims());
    let shape = [dims[0], dims[1], dims[2], sizes.keys];
    let mask = mask.reshape(&dims)?.broadcast_as(&shape)?.contiguous()?;
    let stride = |axis: usize| match shape[axis] {
        1 => 0,
        _ => shape[axis + 1..].iter().product(),
    };
    Ok((mask, [stride(0), stride(1), stride(2)]))
}

/// [batch, sequence, hidden] to [batch, heads, sequence, width].
fn heads(sizes: &Sizes, x: &Tensor) -> candle_core::Result<Tensor> {
    let (batch, sequence, _) = x.dims3()?;
    x.reshape((batch, sequence, sizes.heads, sizes.width))?.transpose(1, 2)?.contiguous()
}

/// The inverse of [`heads`].
fn merge(x: &Tensor) -> candle_core::Result<Tensor> {
    let (batch, heads, sequence, width) = x.dims4()?;
    x.transpose(1, 2)?.reshape((batch, sequence, heads * width))
}

/// In float32 at least: a softmax in half precision loses what it compares.
fn probabilities(sizes: &Sizes, q: &Tensor, k: &Tensor, added: &Added) -> candle_core::Result<Tensor> {
    let keys = heads(sizes, k)?.transpose(2, 3)?.contiguous()?;
    let scores = heads(sizes, q)?.matmul(&keys)?;
    let mut scores = (wide(&scores)? * f64::from(sizes.scale))?;
    let mask = added.mask.as_ref().map(|(mask, _)| mask);
    for added in [added.bias.as_ref(), mask].into_iter().flatten() {
        scores = scores.broadcast_add(&added.to_dtype(scores.dtype())?)?;
    }
    let exp = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// Half precision as float32.
fn wide(x: &Tensor) -> candle_core::Result<Tensor> {
    match x.dtype() {
        DType::BF16 | DType::F16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

/// Gradients of queries, keys and values, and of the scores.
fn on_device(
    [q, k, v]: [&Tensor; 3],
    added: &Added,
    gradient: &Tensor,
    sizes: &Sizes,
) -> Result<([Tensor; 3], Tensor), OpError> {
    let p = probabilities(sizes, q, k, added)?;
    let flip = |t: &Tensor| t.transpose(2, 3)?.contiguous();
    let gradient = heads(sizes, gradient)?;
    let dv = flip(&p.to_dtype(gradient.dtype())?)?.matmul(&gradient)?;
    let dp = wide(&gradient.matmul(&flip(&heads(sizes, v)?)?)?)?;
    let along = (&p * &dp)?.sum_keepdim(D::Minus1)?;
    let dscores = (p * dp.broadcast_sub(&along)?)?;
    let scaled = (&dscores * f64::from(sizes.scale))?.to_dtype(gradient.dtype())?;
    let dq = scaled.matmul(&heads(sizes, k)?)?;
    let dk = flip(&scaled)?.matmul(&heads(sizes, q)?)?;
    Ok(([merge(&dq)?, merge(&dk)?, merge(&dv)?], dscores))
}
