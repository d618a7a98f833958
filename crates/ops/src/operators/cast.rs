//! `Cast(x)` to the type `to`.

use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site, convert};
use candle_core::Tensor;
use refit_graph::{DType, Fact, OpName};

pub(crate) struct Cast;

impl Operator for Cast {
    fn name(&self) -> OpName {
        OpName::standard("Cast")
    }

    fn infer(&self, site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let (x, to) = (inputs.fact(0), target(site)?);
        let elements = x.elements.filter(|_| !to.is_float() && to != DType::Bool);
        Ok(vec![Fact { elements, ..shaped(Some(to), x.shape) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (x, to) = (site.required(inputs, 0)?, target(site)?);
        if to == DType::Bool {
            return Ok(vec![x.ne(&x.zeros_like()?)?]);
        }
        Ok(vec![x.to_dtype(convert::storage_dtype(to)?)?])
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        // For the type of the gradient.
        Reads::inputs(&[0])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, x) = (site.required(back.gradients, 0)?, site.required(back.inputs, 0)?);
        // Steps have no slope: the way back through an integer is closed.
        let open = x.dtype().is_float() && gradient.dtype().is_float() && target(site)?.is_float();
        Ok(vec![if open { Some(gradient.to_dtype(x.dtype())?) } else { None }])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![Problem::new("to float64 and no further").random(&[2, 3]).int("to", DType::F64.to_onnx().into())]
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
