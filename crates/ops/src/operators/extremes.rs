//! `Min` and `Max` of any number of inputs, `Clip` between two bounds. Gradients of ties are shared.

use crate::shapes::{broadcast_facts, broadcast_sizes, broadcast_to, shaped, sum_to};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{Tensor, WithDType};
use refit_graph::{Fact, OpName};

/// `Min` or `Max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the standard's own names")]
pub(crate) enum Extreme {
    Min,
    Max,
}

impl Operator for Extreme {
    fn name(&self) -> OpName {
        OpName::standard(if *self == Self::Min { "Min" } else { "Max" })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let facts: Vec<Fact> = (0..inputs.facts.len()).map(|i| inputs.fact(i)).collect();
        Ok(vec![shaped(inputs.dtype(0), broadcast_facts(site, &facts)?)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let mut result = site.required(inputs, 0)?.clone();
        for index in 1..inputs.len() {
            let next = site.required(inputs, index)?;
            let shape = broadcast_sizes(site, result.dims(), next.dims())?;
            let (a, b) = (broadcast_to(&result, &shape)?, broadcast_to(next, &shape)?);
            result = match self {
                Self::Min => a.minimum(&b)?,
                Self::Max => a.maximum(&b)?,
            };
        }
        Ok(vec![result])
    }

    fn reads(&self, _site: &Site, wanted: &[bool]) -> Option<Reads> {
        Some(Reads { inputs: (0..wanted.len()).collect(), outputs: vec![0] })
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, y) = (site.required(back.gradients, 0)?, site.required(back.outputs, 0)?);
        let mut hits = Vec::new();
        for index in 0..back.inputs.len() {
            let x = broadcast_to(site.required(back.inputs, index)?, y.dims())?;
            hits.push(x.eq(y)?.to_dtype(gradient.dtype())?);
        }
        let mut ties = hits[0].clone();
        for hit in &hits[1..] {
            ties = (ties + hit)?;
        }
        let share = (gradient / ties)?;
        hits.iter()
            .enumerate()
            .map(|(index, hit)| {
                back.wants(index).then(|| sum_to(&(&share * hit)?, &back.input_shapes[index])).transpose()
            })
            .collect()
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("three inputs").random(&[3, 5]).random(&[5]).random(&[3, 1]),
            Problem::new("ties").floats(&[4], &[1.0, 2.0, 3.0, 4.0]).floats(&[4], &[1.0, 5.0, 0.0, 4.0]),
            Problem::new("one input").random(&[3]),
        ]
    }
}

/// `Clip(x, low?, high?)`; before opset 11 the bounds are attributes.
pub(crate) struct Clip;

impl Operator for Clip {
    fn name(&self) -> OpName {
        OpName::standard("Clip")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let mut y = x.clone();
        if let Some(low) = bound(site, inputs.get(1), "min", x)? {
            y = y.maximum(&low)?;
        }
        if let Some(high) = bound(site, inputs.get(2), "max", x)? {
            y = y.minimum(&high)?;
        }
        Ok(vec![y])
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1, 2])
    }

    /// The gradient passes strictly between the bounds, as in PyTorch.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, x) = (site.required(back.gradients, 0)?, site.required(back.inputs, 0)?);
        let mut dx = gradient.clone();
        if let Some(low) = bound(site, back.inputs.get(1), "min", x)? {
            dx = (dx * x.gt(&low)?.to_dtype(gradient.dtype())?)?;
        }
        if let Some(high) = bound(site, back.inputs.get(2), "max", x)? {
            dx = (dx * x.lt(&high)?.to_dtype(gradient.dtype())?)?;
        }
        Ok(vec![Some(dx), None, None])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("both bounds").random(&[3, 5]).floats(&[], &[-0.4]).floats(&[], &[0.6]),
            Problem::new("an upper bound").random(&[3, 5]).absent().floats(&[], &[0.1]),
            Problem::new("attributes").random(&[3, 5]).float("min", -0.2).opset(6),
        ]
    }
}

fn bound(
    site: &Site,
    input: Option<&Option<Tensor>>,
    attribute: &str,
    x: &Tensor,
) -> Result<Option<Tensor>, OpError> {
    let scalar = match (input, site.node.float(attribute)) {
        (Some(Some(input)), _) => input.reshape(())?,
        (_, Some(value)) => Tensor::full(f64::from_f64(value.into()), (), x.device())?.to_dtype(x.dtype())?,
        _ => return Ok(None),
    };
    Ok(Some(scalar.broadcast_as(x.dims())?))
}
