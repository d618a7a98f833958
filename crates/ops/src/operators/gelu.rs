//! `Gelu(x)`, the standard's (opset 20) and `refit.Gelu`: exact, or by tanh with
//! `approximate` = "tanh".

use crate::kernels::{gelu, slices};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{DType, Tensor};
use refit_graph::{Attribute, Fact, OpName};

/// Whose GELU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gelu {
    Refit,
    Standard,
}

impl Operator for Gelu {
    fn name(&self) -> OpName {
        match self {
            Self::Refit => OpName::refit("Gelu"),
            Self::Standard => OpName::standard("Gelu"),
        }
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        Ok(vec![match (slices::is_cpu_f32(x), is_tanh(site)) {
            (true, false) => gelu::forward(x)?,
            (true, true) => gelu::tanh_forward(x)?,
            (false, false) => x.gelu_erf()?,
            (false, true) => x.gelu()?,
        }])
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (x, gradient) = (site.required(back.inputs, 0)?, site.required(back.gradients, 0)?);
        Ok(vec![Some(match (slices::is_cpu_f32(x), is_tanh(site)) {
            (true, false) => gelu::backward(x, gradient)?,
            (true, true) => gelu::tanh_backward(x, gradient)?,
            (false, tanh) => {
                let slope = slope(&x.to_dtype(DType::F32)?, tanh)?;
                (gradient * slope.to_dtype(gradient.dtype())?)?
            }
        })])
    }

    fn problems(&self) -> Vec<Problem> {
        let x = |what| Problem::new(what).random_in(&[3, 7], -3.0, 3.0);
        let tanh = Attribute::String("tanh".into());
        vec![
            x("exact"),
            x("by tanh").attribute("approximate", tanh),
            Problem::new("an empty batch").random(&[0, 7]),
        ]
    }
}

fn is_tanh(site: &Site) -> bool {
    site.node.text("approximate") == Some("tanh")
}

/// The derivative, of candle's operations.
fn slope(x: &Tensor, tanh: bool) -> candle_core::Result<Tensor> {
    if tanh {
        let factor = (2.0 / std::f64::consts::PI).sqrt();
        let t = ((x + (x.powf(3.0)? * 0.044_715)?)? * factor)?.tanh()?;
        let inner = x.sqr()?.affine(3.0 * 0.044_715 * factor, factor)?;
        let bend = ((t.sqr()?.affine(-0.5, 0.5)? * x)? * inner)?;
        return t.affine(0.5, 0.5)? + bend;
    }
    let density = (x.sqr()?.affine(-0.5, 0.0)?.exp()? * (1.0 / (2.0 * std::f64::consts::PI).sqrt()))?;
    (x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)? + (x * density)?
}
