//! `Attention(q, k, v, mask?, past_key?, past_value?, lengths?)` of the standard (operator set 23 on): grouped
//! heads, a cache, causal and windowed masks, soft caps. Composed of candle's operations; the networks that
//! are trained here have `refit.Attention`, which has kernels.
//!
//! Gradients reach queries, keys, values and the cache through the first output; the mask is a constant.

use crate::shapes::{broadcast_to, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{D, DType, Device, Tensor};
use refit_graph::{Dim, Fact, OpName};

pub(crate) struct StandardAttention;

impl Operator for StandardAttention {
    fn name(&self) -> OpName {
        OpName::standard("Attention")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (q, k, v) = (inputs.fact(0), inputs.fact(1), inputs.fact(2));
        let dtype = q.dtype;
        let unknown = || Dim::Unknown;
        let divided = |dim: &Dim, by: usize| match dim {
            Dim::Known(size) => size.checked_div(by).map_or(Dim::Unknown, Dim::Known),
            _ => Dim::Unknown,
        };
        let (Some(q), Some(k), Some(v)) = (q.shape, k.shape, v.shape) else {
            return Ok(vec![
                shaped(dtype, None),
                shaped(dtype, None),
                shaped(dtype, None),
                shaped(dtype, None),
            ]);
        };
        let past = inputs.fact(4).shape;
        let total = |own: &Dim| match (own, past.as_ref().map(|past| past.get(2).cloned())) {
            (own, None) => own.clone(),
            (Dim::Known(own), Some(Some(Dim::Known(past)))) => Dim::Known(own + past),
            _ => unknown(),
        };
        let (y, key, value, scores) = match (q.as_slice(), k.as_slice(), v.as_slice()) {
            ([batch, heads, queries, _], [_, of_keys, keys, width], [.., out]) => (
                vec![batch.clone(), heads.clone(), queries.clone(), out.clone()],
                vec![batch.clone(), of_keys.clone(), total(keys), width.clone()],
                vec![batch.clone(), of_keys.clone(), total(keys), out.clone()],
                vec![batch.clone(), heads.clone(), queries.clone(), total(keys)],
            ),
            ([batch, queries, _], [_, keys, key_hidden], [.., value_hidden]) => {
                let (heads, of_keys) = (count(site, "q_num_heads")?, count(site, "kv_num_heads")?);
                let (width, out) = (divided(key_hidden, of_keys), divided(value_hidden, of_keys));
                let hidden = out.known().map_or(Dim::Unknown, |out| Dim::Known(out * heads));
                (
                    vec![batch.clone(), queries.clone(), hidden],
                    vec![batch.clone(), Dim::Known(of_keys), total(keys), width],
                    vec![batch.clone(), Dim::Known(of_keys), total(keys), out],
                    vec![batch.clone(), Dim::Known(heads), queries.clone(), total(keys)],
                )
            }
            _ => return Err(site.refuse("queries, keys and values need three or four dimensions alike")),
        };
        Ok([y, key, value, scores].into_iter().map(|shape| shaped(dtype, Some(shape))).collect())
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let made = Forward::new(site, inputs)?;
        let y = made.probabilities.matmul(&repeated(&made.value, made.group)?)?;
        let y = if made.flat { merge(&y)? } else { y };
        let scores = match site.node.int("qk_matmul_output_mode").unwrap_or(0) {
            0 => &made.products,
            1 => &made.capped,
            2 => &made.biased,
            _ => &made.probabilities,
        };
        let dtype = site.required(inputs, 0)?.dtype();
        let outputs = [&y, &made.key, &made.value, scores].into_iter().take(site.node.outputs.len());
        Ok(outputs.map(|output| output.to_dtype(dtype)).collect::<Result<_, _>>()?)
    }

    fn differentiable(&self, index: usize) -> bool {
        index != 6
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        match wanted.get(3) {
            Some(true) => None,
            _ => Reads::inputs(&[0, 1, 2, 3, 4, 5, 6]),
        }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        if back.gradients.iter().skip(1).any(Option::is_some) {
            let why = "its cache or its scores are read by something that is trained".to_owned();
            return Err(OpError::NotDifferentiable { op: self.name(), why });
        }
        let made = Forward::new(site, back.inputs)?;
        let gradient = site.required(back.gradients, 0)?.to_dtype(DType::F32)?;
        let (heads, flip) = (made.query.dim(1)?, |t: &Tensor| t.transpose(2, 3)?.contiguous());
        let gradient = if made.flat { split(site, &gradient, heads)? } else { gradient.contiguous()? };
        let value = repeated(&made.value, made.group)?;
        let p = &made.probabilities;
        let dp = gradient.matmul(&flip(&value)?)?;
        let mut dscores = (p * dp.broadcast_sub(&(p * &dp)?.sum_keepdim(D::Minus1)?)?)?;
        if let Some(cap) = made.cap {
            // The slope of `cap * tanh(x / cap)`.
            let t = (&made.capped / cap)?;
            dscores = (dscores * (1.0 - t.sqr()?)?)?;
        }
        let dscores = (dscores * made.scale)?;
        let dq = dscores.matmul(&repeated(&made.key, made.group)?)?;
        let dk = summed(&flip(&dscores)?.matmul(&made.query)?, made.group)?;
        let dv = summed(&flip(p)?.matmul(&gradient)?, made.group)?;
        let past = made.past;
        let part = |t: &Tensor, from: usize, len: usize| t.narrow(2, from, len)?.contiguous();
        let own = |t: &Tensor| part(t, past, t.dim(2)? - past);
        let (new_k, new_v) = (own(&dk)?, own(&dv)?);
        let flat = |t: Tensor| if made.flat { merge(&t) } else { Ok(t) };
        let mut gradients = vec![Some(flat(dq)?), Some(flat(new_k)?), Some(flat(new_v)?), None];
        gradients.extend([Some(part(&dk, 0, past)?), Some(part(&dv, 0, past)?), None]);
        gradients.truncate(back.input_shapes.len());
        let dtype = site.required(back.inputs, 0)?.dtype();
        for (index, gradient) in gradients.iter_mut().enumerate() {
            *gradient = match gradient.take() {
                Some(made) if back.wants(index) => Some(made.to_dtype(dtype)?),
                _ => None,
            };
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let four = |what| {
            let problem = Problem::new(what).random(&[2, 4, 3, 2]).random(&[2, 2, 5, 2]);
            problem.random(&[2, 2, 5, 3])
        };
        let flat = |what| {
            let problem = Problem::new(what).random(&[1, 3, 4]).random(&[1, 5, 4]).random(&[1, 5, 6]);
            problem.int("q_num_heads", 2).int("kv_num_heads", 2)
        };
        vec![
            four("grouped heads"),
            four("a mask and a soft cap").random(&[3, 5]).float("softcap", 0.8).float("scale", 0.7),
            four("causal after a cache")
                .absent()
                .random(&[2, 2, 2, 2])
                .random(&[2, 2, 2, 3])
                .int("is_causal", 1),
            flat("three dimensions"),
            flat("causal").int("is_causal", 1),
            Problem::new("an empty batch").random(&[0, 2, 3, 2]).random(&[0, 2, 5, 2]).random(&[0, 2, 5, 2]),
        ]
    }
}

fn count(site: &Site, name: &'static str) -> Result<usize, OpError> {
    let given = site.node.int(name).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    given.ok_or_else(|| OpError::Attribute {
        op: site.node.op.clone(),
        name,
        why: "it is required for three dimensions".to_owned(),
    })
}

/// [batch, sequence, heads * width] to [batch, heads, sequence, width].
fn split(site: &Site, x: &Tensor, heads: usize) -> Result<Tensor, OpError> {
    let (batch, sequence, hidden) = x.dims3()?;
    if !hidden.is_multiple_of(heads) {
        return Err(site.refuse(format!("{hidden} cannot be shared among {heads} heads")));
    }
    Ok(x.reshape((batch, sequence, heads, hidden / heads))?.transpose(1, 2)?.contiguous()?)
}

/// The inverse of [`split`].
fn merge(x: &Tensor) -> candle_core::Result<Tensor> {
    let (batch, heads, sequence, width) = x.dims4()?;
    x.transpose(1, 2)?.contiguous()?.reshape((batch, sequence, heads * width))
}

/// Each head `group` times, one beside the other.
fn repeated(x: &Tensor, group: usize) -> candle_core::Result<Tensor> {
    let (batch, heads, sequence, width) = x.dims4()?;
    let wide = x.unsqueeze(2)?.broadcast_as((batch, heads, group, sequence, width))?.contiguous()?;
    wide.reshape((batch, heads * group, sequence, width))
}

/// The transpose of [`repeated`].
fn summed(x: &Tensor, group: usize) -> candle_core::Result<Tensor> {
    let (batch, heads, sequence, width) = x.dims4()?;
    x.reshape((batch, heads / group, group, sequence, width))?.sum(2)
}

/// Everything up to the probabilities, in float32 with heads apart.
struct Forward {
    /// Whether heads and widths shared a dimension in the inputs.
    flat: bool,
    /// Query heads for each head of keys.
    group: usize,
    /// Keys that came from the cache.
    past: usize,
    scale: f64,
    cap: Option<f64>,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    products: Tensor,
    capped: Tensor,
    biased: Tensor,
    probabilities: Tensor,
}

impl Forward {
    fn new(site: &Site, inputs: &[Option<Tensor>]) -> Result<Self, OpError> {
        let wide =
            |index| Ok::<_, OpError>(site.required(inputs, index)?.to_dtype(DType::F32)?.contiguous()?);
        let (mut query, mut key, mut value) = (wide(0)?, wide(1)?, wide(2)?);
        let flat = query.rank() == 3;
        if flat {
            let (heads, of_keys) = (count(site, "q_num_heads")?, count(site, "kv_num_heads")?);
            query = split(site, &query, heads)?;
            (key, value) = (split(site, &key, of_keys)?, split(site, &value, of_keys)?);
        }
        let ([batch, heads, _, width], [_, of_keys, ..]) = (query.dims(), key.dims()) else {
            return Err(site.refuse("queries, keys and values need three or four dimensions alike"));
        };
        let alike = key.dims().get(..3) == value.dims().get(..3) && key.dims().first() == Some(batch);
        if !alike || *of_keys == 0 || !heads.is_multiple_of(*of_keys) || key.dims().get(3) != Some(width) {
            let shapes = [query.dims(), key.dims(), value.dims()];
            return Err(site.refuse(format!("queries, keys and values of {shapes:?} do not belong together")));
        }
        let (group, width) = (heads / of_keys, *width);
        let mut past = 0;
        if let (Some(Some(past_key)), Some(Some(past_value))) = (inputs.get(4), inputs.get(5)) {
            past = past_key.dim(2)?;
            key = Tensor::cat(&[&past_key.to_dtype(DType::F32)?, &key], 2)?;
            value = Tensor::cat(&[&past_value.to_dtype(DType::F32)?, &value], 2)?;
        }
        let scale = site.node.float("scale").map_or(1.0 / (width as f64).sqrt(), f64::from);
        let keys = repeated(&key, group)?.transpose(2, 3)?.contiguous()?;
        let products = (query.matmul(&keys)? * scale)?;
        let cap = site.node.float("softcap").filter(|cap| *cap > 0.0).map(f64::from);
        let capped = match cap {
            Some(cap) => ((&products / cap)?.tanh()? * cap)?,
            None => products.clone(),
        };
        let bias = bias(site, inputs, products.dims(), past)?;
        let biased = capped.broadcast_add(&bias)?;
        let probabilities = softmax(&biased, &broadcast_to(&bias, biased.dims())?)?;
        Ok(Self { flat, group, past, scale, cap, query, key, value, products, capped, biased, probabilities })
    }
}

/// The softmax of each row; zeros for a row of which every key is masked.
fn softmax(scores: &Tensor, bias: &Tensor) -> Result<Tensor, OpError> {
    if scores.elem_count() == 0 {
        return Ok(scores.clone());
    }
    let nothing = bias.max_keepdim(D::Minus1)?.eq(f64::NEG_INFINITY)?;
    let zeros = scores.zeros_like()?;
    let nothing = nothing.broadcast_as(scores.dims())?;
    let open = nothing.where_cond(&zeros, scores)?;
    let exp = open.broadcast_sub(&open.max_keepdim(D::Minus1)?)?.exp()?;
    let p = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?;
    Ok(nothing.where_cond(&zeros, &p)?)
}

/// What is added to the scores of [batch, heads, queries, keys]: the mask, and minus infinity where a key may
/// not be seen.
fn bias(site: &Site, inputs: &[Option<Tensor>], scores: &[usize], past: usize) -> Result<Tensor, OpError> {
    let [batch, _, queries, keys] = *scores else { return Err(site.refuse("scores need four dimensions")) };
    let input = |index: usize| inputs.get(index).and_then(Option::as_ref);
    let lengths = input(6).map(host::integers).transpose()?;
    if lengths.as_ref().is_some_and(|lengths| lengths.len() != batch) {
        return Err(site.refuse(format!("there is not one length for each of {batch} rows")));
    }
    let window = |name| site.node.int(name).unwrap_or(-1);
    let (left, right) = (window("left_window_size"), window("right_window_size"));
    let causal = site.node.int("is_causal").unwrap_or(0) != 0;
    let mut allowed = vec![0f32; batch * queries * keys];
    for (place, bias) in allowed.iter_mut().enumerate() {
        let (row, i, j) = (place / (queries * keys), place / keys % queries, (place % keys) as i64);
        let length = lengths.as_ref().map(|lengths| lengths[row]);
        // The place of a query among the keys: after the cache, or at the end of what is filled.
        let offset = match length {
            Some(length) if input(4).is_none() => length - queries as i64,
            _ => past as i64,
        };
        let ahead = j - (i as i64 + offset);
        let hidden = (causal && ahead > 0)
            || (left >= 0 && -ahead > left)
            || (right >= 0 && ahead > right)
            || length.is_some_and(|length| j >= length);
        *bias = if hidden { f32::NEG_INFINITY } else { 0.0 };
    }
    let device = site.required(inputs, 0)?.device();
    let allowed = Tensor::from_vec(allowed, (batch, 1, queries, keys), &Device::Cpu)?.to_device(device)?;
    let Some(mask) = input(3) else { return Ok(allowed) };
    let mask = match mask.dtype() {
        // Storage of booleans: what is true may be seen.
        DType::U8 => {
            let (zero, hidden) = (Tensor::zeros(mask.dims(), DType::F32, device)?, f32::NEG_INFINITY);
            mask.where_cond(&zero, &Tensor::full(hidden, mask.dims(), device)?)?
        }
        _ => mask.to_dtype(DType::F32)?,
    };
    let given = mask.dim(D::Minus1)?;
    let mask = match keys.checked_sub(given).filter(|_| given > 1) {
        Some(missing) if missing > 0 => {
            let mut shape = mask.dims().to_vec();
            shape[mask.rank() - 1] = missing;
            Tensor::cat(&[&mask, &Tensor::full(f32::NEG_INFINITY, shape, device)?], D::Minus1)?
        }
        _ => mask,
    };
    Ok(allowed.broadcast_add(&mask)?)
}
