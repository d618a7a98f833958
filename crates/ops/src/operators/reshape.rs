//! Operators that keep the elements and change the shape alone: `Reshape`, `Flatten`, `Squeeze`,
//! `Unsqueeze`, `Identity`. Their reverse rule gives the gradient its old shape back.

use crate::shapes::{self, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Dim, Fact, OpName};

/// The five operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the standard's own names")]
pub(crate) enum Reshaping {
    Reshape,
    Flatten,
    Squeeze,
    Unsqueeze,
    Identity,
}

impl Operator for Reshaping {
    fn name(&self) -> OpName {
        OpName::standard(match self {
            Self::Reshape => "Reshape",
            Self::Flatten => "Flatten",
            Self::Squeeze => "Squeeze",
            Self::Unsqueeze => "Unsqueeze",
            Self::Identity => "Identity",
        })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let (Some(dims), Some(target)) = (&x.shape, self.wanted_dims(site, inputs)) else {
            let rank_only = (*self == Self::Reshape)
                .then(|| match inputs.fact(1).shape.as_deref() {
                    Some([Dim::Known(rank)]) => Some(vec![Dim::Unknown; *rank]),
                    _ => None,
                })
                .flatten();
            return Ok(vec![shaped(x.dtype, rank_only)]);
        };
        let shape = self.result_dims(site, dims, &target)?;
        let elements = if shape.len() <= 1 { x.elements } else { None };
        Ok(vec![Fact { dtype: x.dtype, shape: Some(shape), elements }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        if *self == Self::Identity {
            return Ok(vec![x.clone()]);
        }
        let target = match inputs.get(1) {
            Some(Some(target)) => Some(shapes::integers(site, target)?),
            _ => None,
        };
        let target = target.or_else(|| self.attribute(site).map(<[i64]>::to_vec)).unwrap_or_default();
        let dims: Vec<Dim> = x.dims().iter().copied().map(Dim::Known).collect();
        let target: Vec<Wanted> = target.into_iter().map(Wanted::of).collect();
        let shape = self.result_dims(site, &dims, &target)?;
        let shape: Vec<usize> = shape
            .iter()
            .map(|dim| dim.known().ok_or_else(|| site.refuse("the new shape does not fit the elements")))
            .collect::<Result<_, _>>()?;
        Ok(vec![x.reshape(shape)?])
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::nothing()
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?.reshape(back.input_shapes[0].as_slice())?;
        Ok(vec![Some(gradient), None])
    }

    fn problems(&self) -> Vec<Problem> {
        let x = |what| Problem::new(what).random(&[2, 1, 6]);
        match self {
            Self::Reshape => vec![
                x("a size left open").integers(&[3], &[3, -1, 2]),
                x("sizes copied").integers(&[3], &[0, 0, -1]),
                Problem::new("an empty batch").random(&[0, 3, 4]).integers(&[2], &[0, 12]),
            ],
            Self::Flatten => vec![x("the default axis"), x("a negative axis").int("axis", -1)],
            Self::Squeeze => {
                vec![x("an axis").integers(&[1], &[1]), x("an attribute").ints("axes", &[1]).opset(11)]
            }
            Self::Unsqueeze => {
                vec![x("two axes").integers(&[2], &[0, -1]), x("an attribute").ints("axes", &[3]).opset(11)]
            }
            Self::Identity => vec![x("nothing")],
        }
    }
}

/// One entry of a shape that is asked for.
#[derive(Debug, Clone)]
enum Wanted {
    Number(i64),
    Dim(Dim),
}

impl Wanted {
    fn of(number: i64) -> Self {
        Self::Number(number)
    }
}

impl Reshaping {
    fn attribute<'a>(self, site: &Site<'a>) -> Option<&'a [i64]> {
        site.node.ints(if self == Self::Reshape { "shape" } else { "axes" })
    }

    /// The second input as far as it is known; `None` when it is not.
    fn wanted_dims(self, site: &Site, inputs: &Known) -> Option<Vec<Wanted>> {
        if inputs.has(1) {
            if let Some(numbers) = inputs.integers(1) {
                return Some(numbers.into_iter().map(Wanted::of).collect());
            }
            return Some(inputs.fact(1).elements?.into_iter().map(Wanted::Dim).collect());
        }
        Some(self.attribute(site).unwrap_or_default().iter().copied().map(Wanted::of).collect())
    }

    fn result_dims(self, site: &Site, dims: &[Dim], target: &[Wanted]) -> Result<Vec<Dim>, OpError> {
        let numbers = || -> Result<Vec<i64>, OpError> {
            let number = |wanted: &Wanted| match wanted {
                Wanted::Number(n) => Ok(*n),
                Wanted::Dim(Dim::Known(n)) => Ok(*n as i64),
                Wanted::Dim(_) => Err(site.refuse("axes must be constants")),
            };
            target.iter().map(number).collect()
        };
        match self {
            Self::Identity => Ok(dims.to_vec()),
            Self::Reshape => reshaped(site, dims, target),
            Self::Flatten => {
                let axis = site.node.int("axis").unwrap_or(1);
                let rank = dims.len() as i64;
                let axis = if axis < 0 { axis + rank } else { axis };
                let axis = usize::try_from(axis).ok().filter(|axis| *axis <= dims.len());
                let axis = axis.ok_or_else(|| site.refuse("the axis does not exist"))?;
                Ok(vec![shapes::product(&dims[..axis]), shapes::product(&dims[axis..])])
            }
            Self::Squeeze => {
                let axes = shapes::axes(site, &numbers()?, dims.len())?;
                let dropped = |index: usize, dim: &Dim| match axes.is_empty() {
                    true => *dim == Dim::Known(1),
                    false => axes.contains(&index),
                };
                Ok(dims
                    .iter()
                    .enumerate()
                    .filter(|(index, dim)| !dropped(*index, dim))
                    .map(|(_, dim)| dim.clone())
                    .collect())
            }
            Self::Unsqueeze => {
                let rank = dims.len() + target.len();
                let axes = shapes::axes(site, &numbers()?, rank)?;
                let mut rest = dims.iter();
                let dim = |index: usize| match axes.contains(&index) {
                    true => Some(Dim::Known(1)),
                    false => rest.next().cloned(),
                };
                (0..rank).map(dim).collect::<Option<_>>().ok_or_else(|| site.refuse("an axis is named twice"))
            }
        }
    }
}

/// 0 copies a size (unless `allowzero`), -1 or one unknown size takes what is left.
fn reshaped(site: &Site, dims: &[Dim], target: &[Wanted]) -> Result<Vec<Dim>, OpError> {
    let copies_zero = site.node.int("allowzero").unwrap_or(0) == 0;
    let mut shape = Vec::with_capacity(target.len());
    let mut open = Vec::new();
    for (index, wanted) in target.iter().enumerate() {
        shape.push(match wanted {
            Wanted::Number(0) if copies_zero => dims
                .get(index)
                .cloned()
                .ok_or_else(|| site.refuse("a size is copied from a dimension that does not exist"))?,
            Wanted::Number(-1) | Wanted::Dim(Dim::Unknown) => {
                open.push(index);
                Dim::Unknown
            }
            Wanted::Number(n) => {
                Dim::Known(usize::try_from(*n).map_err(|_| site.refuse(format!("a size cannot be {n}")))?)
            }
            Wanted::Dim(dim) => dim.clone(),
        });
    }
    if let [index] = open[..] {
        let others: Vec<Dim> =
            shape.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, dim)| dim.clone()).collect();
        shape[index] = shapes::quotient(dims, &others);
    }
    Ok(shape)
}
