//! Comparisons and logic: two inputs broadcast against each other, a boolean result.

use crate::shapes::{broadcast_facts, broadcast_sizes, broadcast_to, shaped};
use crate::{Element, Known, OpError, Operator, Site};
use candle_core::{DType as Storage, Tensor};
use refit_graph::{DType, Dim, Fact, OpName};

/// A comparison or a connective.
pub(crate) struct Compare {
    name: &'static str,
    apply: fn(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
}

/// The comparisons and connectives of the standard.
pub(crate) static ALL: &[Compare] = &[
    Compare { name: "Equal", apply: |a, b| a.eq(b) },
    Compare { name: "Greater", apply: |a, b| a.gt(b) },
    Compare { name: "GreaterOrEqual", apply: |a, b| a.ge(b) },
    Compare { name: "Less", apply: |a, b| a.lt(b) },
    Compare { name: "LessOrEqual", apply: |a, b| a.le(b) },
    Compare { name: "And", apply: |a, b| a.minimum(b) },
    Compare { name: "Or", apply: |a, b| a.maximum(b) },
    Compare { name: "Xor", apply: |a, b| a.ne(b) },
];

impl Operator for Compare {
    fn name(&self) -> OpName {
        OpName::standard(self.name)
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let shape = broadcast_facts(site, &[inputs.fact(0), inputs.fact(1)])?;
        let elements = if self.name == "Equal" { equal_elements(inputs) } else { None };
        Ok(vec![Fact { elements, ..shaped(Some(DType::Bool), shape) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        if a.dtype() != b.dtype() {
            return Err(site.refuse(format!("types {:?} and {:?} differ", a.dtype(), b.dtype())));
        }
        let shape = broadcast_sizes(site, a.dims(), b.dims())?;
        let (a, b) = (broadcast_to(a, &shape)?, broadcast_to(b, &shape)?);
        Ok(vec![(self.apply)(&a.contiguous()?, &b.contiguous()?)?])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}

/// What is known of `Equal` before a run: exporters compare shapes with -1 to build the shape of an
/// `Expand`, and a size is never negative.
fn equal_elements(inputs: &Known) -> Option<Vec<Dim>> {
    let (a, b) = (inputs.elements(0)?, inputs.elements(1)?);
    let equal = |pair: (&Element, &Element)| match pair {
        (Element::Number(a), Element::Number(b)) => Some(Dim::Known(usize::from(a == b))),
        (Element::Dim(_), Element::Number(..0)) | (Element::Number(..0), Element::Dim(_)) => {
            Some(Dim::Known(0))
        }
        (Element::Dim(a @ Dim::Symbol(_)), Element::Dim(b)) if a == b => Some(Dim::Known(1)),
        _ => None,
    };
    if a.len() == b.len() { a.iter().zip(&b).map(equal).collect() } else { None }
}

/// `Not(x)`: booleans.
pub(crate) struct Not;

impl Operator for Not {
    fn name(&self) -> OpName {
        OpName::standard("Not")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        Ok(vec![x.eq(&x.zeros_like()?)?.to_dtype(Storage::U8)?])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}
