//! `IsNaN` and `IsInf`: which elements are no numbers. Nothing is differentiated through a truth value.

use crate::shapes::shaped;
use crate::{Known, OpError, Operator, Site};
use candle_core::{DType as Storage, Tensor};
use refit_graph::{DType, Fact, OpName};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the standard's own names")]
pub(crate) enum Classify {
    IsNaN,
    IsInf,
}

impl Operator for Classify {
    fn name(&self) -> OpName {
        OpName::standard(if *self == Self::IsNaN { "IsNaN" } else { "IsInf" })
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![shaped(Some(DType::Bool), inputs.fact(0).shape)])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?.to_dtype(Storage::F64)?;
        if *self == Self::IsNaN {
            return Ok(vec![x.ne(&x)?]);
        }
        let detects = |name: &str| site.node.int(name).unwrap_or(1) != 0;
        let is = |bound: f64| x.eq(&Tensor::full(bound, x.dims(), x.device())?);
        Ok(vec![match (detects("detect_negative"), detects("detect_positive")) {
            (true, true) => is(f64::INFINITY)?.maximum(&is(f64::NEG_INFINITY)?)?,
            (true, false) => is(f64::NEG_INFINITY)?,
            (false, true) => is(f64::INFINITY)?,
            (false, false) => x.zeros_like()?.to_dtype(Storage::U8)?,
        }])
    }

    fn differentiable(&self, _index: usize) -> bool {
        false
    }
}
