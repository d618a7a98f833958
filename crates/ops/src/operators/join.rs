//! `Concat` along an axis, and `Split` into parts: each is the other's reverse rule.

use crate::shapes::{self, axis, shaped};
use crate::{Backward, Element, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Dim, Fact, OpName};

pub(crate) struct Concat;

impl Operator for Concat {
    fn name(&self) -> OpName {
        OpName::standard("Concat")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let facts: Vec<Fact> = (0..inputs.facts.len()).map(|i| inputs.fact(i)).collect();
        let dtype = facts.iter().find_map(|fact| fact.dtype);
        // A negative element (a size left open) is no dimension: it stays unknown, but keeps its place.
        let dims = |index| inputs.elements(index).map(|e| e.iter().map(Element::dim).collect());
        let elements: Option<Vec<Vec<Dim>>> = (0..facts.len()).map(dims).collect();
        let shape = facts.iter().map(|fact| fact.shape.clone()).collect::<Option<Vec<_>>>();
        let Some(shapes) = shape.filter(|shapes| !shapes.is_empty()) else {
            return Ok(vec![shaped(dtype, None)]);
        };
        let mut joined = shapes[0].clone();
        let along = axis(site, concat_axis(site)?, joined.len())?;
        for shape in &shapes[1..] {
            if shape.len() != joined.len() {
                return Err(site.refuse("the inputs differ in rank"));
            }
            for (index, dim) in shape.iter().enumerate() {
                match (&joined[index], dim) {
                    (Dim::Known(a), Dim::Known(b)) if index == along => joined[index] = Dim::Known(a + b),
                    _ if index == along => joined[index] = Dim::Unknown,
                    (Dim::Known(a), Dim::Known(b)) if a != b => {
                        return Err(site.refuse(format!("dimensions {a} and {b} differ")));
                    }
                    (Dim::Known(_), _) => {}
                    (_, dim) => joined[index] = dim.clone(),
                }
            }
        }
        let elements = if joined.len() == 1 { elements.map(|parts| parts.concat()) } else { None };
        Ok(vec![Fact { dtype, shape: Some(joined), elements }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let parts: Vec<&Tensor> =
            (0..inputs.len()).map(|i| site.required(inputs, i)).collect::<Result<_, _>>()?;
        let along = axis(site, concat_axis(site)?, site.required(inputs, 0)?.rank())?;
        // candle's `cat` refuses parts without elements.
        let full: Vec<&Tensor> = parts.iter().copied().filter(|part| part.dims()[along] > 0).collect();
        Ok(vec![if full.is_empty() { parts[0].clone() } else { Tensor::cat(&full, along)? }])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::nothing()
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let along = axis(site, concat_axis(site)?, gradient.rank())?;
        let mut start = 0;
        let mut gradients = Vec::new();
        for (index, shape) in back.input_shapes.iter().enumerate() {
            let part = back.wants(index).then(|| gradient.narrow(along, start, shape[along])).transpose()?;
            gradients.push(part);
            start += shape[along];
        }
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("along the last axis")
                .random(&[2, 3])
                .random(&[2, 1])
                .random(&[2, 4])
                .int("axis", -1),
            Problem::new("an empty part").random(&[0, 3]).random(&[2, 3]).int("axis", 0),
        ]
    }
}

fn concat_axis(site: &Site) -> Result<i64, OpError> {
    site.node.int("axis").ok_or_else(|| OpError::Attribute {
        op: site.node.op.clone(),
        name: "axis",
        why: "it is required".to_owned(),
    })
}

pub(crate) struct Split;

impl Operator for Split {
    fn name(&self) -> OpName {
        OpName::standard("Split")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let count = site.node.outputs.len();
        let Some(shape) = x.shape else { return Ok(vec![shapes::of_type(x.dtype); count]) };
        let along = axis(site, site.node.int("axis").unwrap_or(0), shape.len())?;
        let known = !inputs.has(1) || inputs.integers(1).is_some();
        let sizes = match shape[along].known().filter(|_| known) {
            Some(size) => {
                let sizes = parts(site, inputs.integers(1), size)?;
                sizes.into_iter().map(Dim::Known).collect()
            }
            None => vec![Dim::Unknown; count],
        };
        let with = |size: Dim| {
            let mut shape = shape.clone();
            shape[along] = size;
            shaped(x.dtype, Some(shape))
        };
        Ok(sizes.into_iter().map(with).collect())
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let along = axis(site, site.node.int("axis").unwrap_or(0), x.rank())?;
        let given = match inputs.get(1) {
            Some(Some(sizes)) => Some(shapes::integers(site, sizes)?),
            _ => None,
        };
        let mut start = 0;
        let mut outputs = Vec::new();
        for size in parts(site, given, x.dims()[along])? {
            outputs.push(x.narrow(along, start, size)?);
            start += size;
        }
        Ok(outputs)
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        // The sizes of the parts; a gradient may be absent and has no shape then.
        Some(Reads { inputs: vec![1], outputs: Vec::new() })
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let shape = &back.input_shapes[0];
        let along = axis(site, site.node.int("axis").unwrap_or(0), shape.len())?;
        let given = match back.inputs.get(1) {
            Some(Some(sizes)) => Some(shapes::integers(site, sizes)?),
            _ => None,
        };
        let sizes = parts(site, given, shape[along])?;
        let like = back.gradients.iter().flatten().next();
        let like = like.ok_or_else(|| site.refuse("no output has a gradient"))?;
        let mut gradients = Vec::new();
        for (index, size) in sizes.into_iter().enumerate().filter(|(_, size)| *size > 0) {
            gradients.push(match back.gradients.get(index) {
                Some(Some(gradient)) => gradient.clone(),
                _ => {
                    let mut part = shape.clone();
                    part[along] = size;
                    Tensor::zeros(part, like.dtype(), like.device())?
                }
            });
        }
        Ok(vec![Some(Tensor::cat(&gradients, along)?), None])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("equal parts").random(&[2, 6]).int("axis", 1).int("num_outputs", 3).outputs(3),
            Problem::new("given parts").random(&[5, 2]).integers(&[2], &[1, 4]).outputs(2),
            Problem::new("an attribute").random(&[5, 2]).ints("split", &[2, 3]).outputs(2).opset(11),
        ]
    }
}

/// The sizes of the parts: given, or equal with a smaller last one.
fn parts(site: &Site, given: Option<Vec<i64>>, size: usize) -> Result<Vec<usize>, OpError> {
    let given = given.or_else(|| site.node.ints("split").map(<[i64]>::to_vec));
    let count = site.node.outputs.len();
    let sizes = match given {
        Some(given) => shapes::sizes(site, &given)?,
        None => {
            let each = size.div_ceil(count.max(1));
            (0..count).map(|index| each.min(size.saturating_sub(index * each))).collect()
        }
    };
    if sizes.len() != count || sizes.iter().sum::<usize>() != size {
        return Err(site.refuse(format!("{size} cannot be split into {count} parts of {sizes:?}")));
    }
    Ok(sizes)
}
