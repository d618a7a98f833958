//! `refit.Attention(q, k, v, mask?)`: multi-head attention over [batch, sequence, heads * width]; the
//! mask is added to the scores and broadcast to [batch, heads, queries, keys].

use crate::kernels::attention::{self, Inputs, Mask, Sizes};
use crate::kernels::slices;
use crate::shapes::{of_type, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{D, Tensor};
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
        let mask = inputs.get(3).and_then(Option::as_ref);
        if slices::is_cpu_f32(q) && slices::is_cpu_f32(k) && slices::is_cpu_f32(v) {
            let y = with_slices(site, [q, k, v], mask, &sizes, |inputs| attention::forward(inputs, sizes))?;
            return Ok(vec![Tensor::from_vec(y, q.dims(), q.device())?]);
        }
        let p = probabilities(&sizes, q, k, mask)?;
        Ok(vec![merge(&p.matmul(&heads(&sizes, v)?)?)?])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        // A trained mask (a relative position bias) would need the gradient of the scores.
        match wanted.get(3) {
            Some(true) => None,
            _ => Reads::inputs(&[0, 1, 2, 3]),
        }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let input = |index| site.required(back.inputs, index);
        let (q, k, v) = (input(0)?, input(1)?, input(2)?);
        let gradient = site.required(back.gradients, 0)?.contiguous()?;
        let sizes = sizes(site, q.dims(), k.dims(), v.dims())?;
        let mask = back.inputs.get(3).and_then(Option::as_ref);
        let made = if slices::is_cpu_f32(&gradient) && slices::is_cpu_f32(q) {
            let made = with_slices(site, [q, k, v], mask, &sizes, |inputs| {
                slices::with(&gradient, |gradient| attention::backward(inputs, gradient, sizes))
            })??;
            [
                Tensor::from_vec(made.query, q.dims(), q.device())?,
                Tensor::from_vec(made.key, k.dims(), k.device())?,
                Tensor::from_vec(made.value, v.dims(), v.device())?,
            ]
        } else {
            on_device([q, k, v], mask, &gradient, &sizes)?
        };
        let mut gradients: Vec<Option<Tensor>> = made.into_iter().map(Some).collect();
        gradients.push(None);
        Ok(gradients)
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
            qkv("an empty batch", 0),
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

fn with_slices<R>(
    site: &Site,
    tensors: [&Tensor; 3],
    mask: Option<&Tensor>,
    sizes: &Sizes,
    f: impl FnOnce(Inputs) -> R,
) -> Result<R, OpError> {
    let [q, k, v] = [tensors[0].contiguous()?, tensors[1].contiguous()?, tensors[2].contiguous()?];
    let mask = mask.map(|mask| expand_keys(site, mask, sizes)).transpose()?;
    let run = |mask: Option<Mask>| {
        slices::with(&q, |query| {
            slices::with(&k, |key| slices::with(&v, |value| f(Inputs { query, key, value, mask })))
        })
    };
    Ok(match &mask {
        Some((mask, strides)) => slices::with(mask, |data| run(Some(Mask { data, strides: *strides })))????,
        None => run(None)???,
    })
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

fn probabilities(
    sizes: &Sizes,
    q: &Tensor,
    k: &Tensor,
    mask: Option<&Tensor>,
) -> candle_core::Result<Tensor> {
    let keys = heads(sizes, k)?.transpose(2, 3)?.contiguous()?;
    let mut scores = (heads(sizes, q)?.matmul(&keys)? * f64::from(sizes.scale))?;
    if let Some(mask) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    let exp = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

fn on_device(
    [q, k, v]: [&Tensor; 3],
    mask: Option<&Tensor>,
    gradient: &Tensor,
    sizes: &Sizes,
) -> Result<[Tensor; 3], OpError> {
    let p = probabilities(sizes, q, k, mask)?;
    let flip = |t: &Tensor| t.transpose(2, 3)?.contiguous();
    let gradient = heads(sizes, gradient)?;
    let dv = flip(&p)?.matmul(&gradient)?;
    let dp = gradient.matmul(&flip(&heads(sizes, v)?)?)?;
    let along = (&p * &dp)?.sum_keepdim(D::Minus1)?;
    let dscores = ((p * dp.broadcast_sub(&along)?)? * f64::from(sizes.scale))?;
    let dq = dscores.matmul(&heads(sizes, k)?)?;
    let dk = flip(&dscores)?.matmul(&heads(sizes, q)?)?;
    Ok([merge(&dq)?, merge(&dk)?, merge(&dv)?])
}
