//! `Cast(x)` to the type `to`, and `CastLike(x, target)` to the type of another value.

use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, convert};
use candle_core::Tensor;
use refit_graph::{DType, Fact, OpName};

/// Where the type comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cast {
    To,
    Like,
}

impl Operator for Cast {
    fn name(&self) -> OpName {
        OpName::standard(if *self == Self::To { "Cast" } else { "CastLike" })
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let to = if *self == Self::To { Some(target(site)?) } else { inputs.dtype(1) };
        let keeps = to.is_some_and(|to| !to.is_float() && to != DType::Bool);
        let elements = x.elements.filter(|_| keeps);
        Ok(vec![Fact { elements, ..shaped(to, x.shape) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, to) = (site.required(inputs, 0)?, self.type_in_run(site)?);
        if to == DType::Bool {
            return Ok(vec![x.ne(&x.zeros_like()?)?]);
        }
        Ok(vec![x.to_dtype(convert::storage_dtype(to)?)?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        let from = *back.input_types.first().ok_or_else(|| site.refuse("it has no input"))?;
        // Steps have no slope: the way back through an integer is closed.
        let open = from.is_float() && gradient.dtype().is_float() && self.type_in_run(site)?.is_float();
        let mut gradients = vec![None; back.input_shapes.len()];
        gradients[0] = if open { Some(gradient.to_dtype(from)?) } else { None };
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::To => {
                let to = DType::F64.to_onnx().into();
                vec![Problem::new("to float64 and no further").random(&[2, 3]).int("to", to)]
            }
            Self::Like => vec![Problem::new("float32").random(&[2, 3]).random(&[1])],
        }
    }
}

impl Cast {
    fn type_in_run(self, site: &Site) -> Result<DType, OpError> {
        if self == Self::To { target(site) } else { site.output_type(0) }
    }
}

fn target(site: &Site) -> Result<DType, OpError> {
    let code = site.node.int("to").and_then(|code| i32::try_from(code).ok());
    code.map(DType::from_onnx).ok_or_else(|| OpError::Attribute {
        op: site.node.op.clone(),
        name: "to",
        why: "it is required".to_owned(),
    })
}
