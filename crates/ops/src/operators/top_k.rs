//! `TopK(x, k)`: the `k` largest or smallest elements along an axis and where they lie; of equal elements
//! the first comes first. Before opset 10 `k` is an attribute.

use super::arg;
use crate::picks::{Plan, pick, put_back};
use crate::shapes::{axis, shaped};
use crate::{Backward, Element, Known, OpError, Operator, Problem, Reads, Site, host};
use candle_core::{DType as Storage, Tensor};
use refit_graph::{DType, Dim, Fact, OpName};

/// More elements than so many are sorted out on the host.
const MOST_ROUNDS: usize = 64;

pub(crate) struct TopK;

impl Operator for TopK {
    fn name(&self) -> OpName {
        OpName::standard("TopK")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let shape = match x.shape {
            Some(mut shape) => {
                let along = axis(site, site.node.int("axis").unwrap_or(-1), shape.len())?;
                let given = inputs.elements(1).and_then(|elements| elements.first().map(Element::dim));
                let attribute = site.node.int("k").and_then(|k| usize::try_from(k).ok()).map(Dim::Known);
                shape[along] = given.or(attribute).unwrap_or(Dim::Unknown);
                Some(shape)
            }
            None => None,
        };
        Ok(vec![shaped(x.dtype, shape.clone()), shaped(Some(DType::I64), shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let along = axis(site, site.node.int("axis").unwrap_or(-1), x.rank())?;
        let size = x.dims()[along];
        let k = match inputs.get(1) {
            Some(Some(k)) => host::integers(k)?.first().copied(),
            _ => site.node.int("k"),
        };
        let k = k.and_then(|k| usize::try_from(k).ok()).filter(|k| *k <= size);
        let k = k.ok_or_else(|| site.refuse(format!("k is no number of elements up to {size}")))?;
        let mut shape = x.dims().to_vec();
        shape[along] = k;
        let has_lowest = x.dtype().is_float() || x.dtype() == Storage::I64;
        if (1..=MOST_ROUNDS).contains(&k) && has_lowest && arg::compares_on_device(x) {
            let places = on_device(x, along, k, largest(site))?;
            return Ok(vec![x.contiguous()?.gather(&places, along)?, places.to_dtype(Storage::I64)?]);
        }
        let places = self.places(site, x, along, k)?;
        let inner: usize = shape[along + 1..].iter().product();
        let sources = sources(&places, size, k, inner);
        let values = pick(x, &Plan { shape: shape.clone(), sources }, 0.0)?;
        Ok(vec![values, Tensor::from_vec(places, shape, x.device())?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, site: &Site, _wanted: &[bool]) -> Option<Reads> {
        match site.node.output(1) {
            Some(_) => Some(Reads { inputs: Vec::new(), outputs: vec![1] }),
            None => Reads::inputs(&[0, 1]),
        }
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let places = match back.outputs.get(1) {
            Some(Some(places)) => places.clone(),
            _ => self.forward(site, back.inputs)?.swap_remove(1),
        };
        let shape = &back.input_shapes[0];
        let along = axis(site, site.node.int("axis").unwrap_or(-1), shape.len())?;
        let inner: usize = shape[along + 1..].iter().product();
        let sources = sources(&host::integers(&places)?, shape[along], places.dims()[along], inner);
        let mut gradients = vec![None; back.input_shapes.len()];
        gradients[0] = Some(put_back(gradient, &sources, shape)?);
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let x = |what| Problem::new(what).random(&[3, 5]).outputs(2);
        vec![
            x("largest").integers(&[1], &[2]),
            x("smallest, another axis").integers(&[1], &[2]).int("axis", 0).int("largest", 0),
            x("none").integers(&[1], &[0]),
            x("an attribute").int("k", 3).opset(9),
            Problem::new("an empty batch").random(&[0, 4]).integers(&[1], &[2]).outputs(2),
        ]
    }
}

impl TopK {
    /// Positions along the axis, in the order of the output.
    fn places(&self, site: &Site, x: &Tensor, along: usize, k: usize) -> Result<Vec<i64>, OpError> {
        if k == 0 {
            return Ok(Vec::new());
        }
        let numbers = host::numbers(x)?;
        let (size, inner) = (x.dims()[along], x.dims()[along + 1..].iter().product::<usize>());
        let outer: usize = x.dims()[..along].iter().product();
        let largest = largest(site);
        let mut places = vec![0i64; outer * k * inner];
        let mut order: Vec<usize> = Vec::new();
        for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
            // Adding 0 makes both zeros one.
            let at = |index: usize| numbers[(o * size + index) * inner + i] + 0.0;
            order.clear();
            order.extend(0..size);
            // A stable sort: equal elements keep their order.
            order.sort_by(|a, b| if largest { at(*b).total_cmp(&at(*a)) } else { at(*a).total_cmp(&at(*b)) });
            for (rank, index) in order.iter().take(k).enumerate() {
                places[(o * k + rank) * inner + i] = *index as i64;
            }
        }
        Ok(places)
    }
}

fn largest(site: &Site) -> bool {
    site.node.int("largest").unwrap_or(1) != 0
}

/// Positions along the axis where `x` lies, uint32: one of the largest (or smallest) elements after the other,
/// each taken out once it is found.
fn on_device(x: &Tensor, along: usize, k: usize, largest: bool) -> Result<Tensor, OpError> {
    let taken = match (x.dtype(), largest) {
        (Storage::I64, true) => Tensor::new(&[i64::MIN], x.device())?,
        (Storage::I64, false) => Tensor::new(&[i64::MAX], x.device())?,
        (dtype, true) => Tensor::new(&[f32::NEG_INFINITY], x.device())?.to_dtype(dtype)?,
        (dtype, false) => Tensor::new(&[f32::INFINITY], x.device())?.to_dtype(dtype)?,
    };
    let taken = taken.broadcast_as(x.shape())?;
    let mut shape = vec![1; x.rank()];
    shape[along] = x.dims()[along];
    let all = Tensor::arange(0, x.dims()[along] as u32, x.device())?.reshape(shape)?;
    let all = all.broadcast_as(x.shape())?;
    // An element may be as low as what stands for a taken one.
    let mut open = Tensor::ones(x.shape(), Storage::U8, x.device())?;
    let (mut left, mut found) = (x.clone(), Vec::with_capacity(k));
    for _ in 0..k {
        let best = if largest { left.max_keepdim(along)? } else { left.min_keepdim(along)? };
        let hits = (left.broadcast_eq(&best)? * &open)?;
        let place = arg::first_hit(&hits, along, false)?;
        open = (open * all.broadcast_ne(&place)?)?;
        left = open.where_cond(&left, &taken)?;
        found.push(place);
    }
    Ok(Tensor::cat(&found, along)?.contiguous()?)
}

/// Positions along an axis as positions in the flat input.
fn sources(places: &[i64], size: usize, k: usize, inner: usize) -> Vec<u32> {
    let source = |(at, place): (usize, &i64)| {
        let outer = at / (k * inner);
        ((outer * size + *place as usize) * inner + at % inner) as u32
    };
    places.iter().enumerate().map(source).collect()
}
