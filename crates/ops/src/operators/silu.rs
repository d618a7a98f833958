//! `refit.Silu(x)`: `x * sigmoid(x)` (Elfwing et al. 2017).

use crate::kernels::{elementwise, math, slices};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Fact, OpName};

pub(crate) struct Silu;

impl Operator for Silu {
    fn name(&self) -> OpName {
        OpName::refit("Silu")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact { elements: None, ..inputs.fact(0) }])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        if !slices::is_cpu_f32(x) {
            return Ok(vec![x.silu()?]);
        }
        let y = elementwise::map(
            x,
            #[inline(always)]
            |x: f32| -> f32 { x / (1.0 + math::exp(-x)) },
        )?;
        Ok(vec![y])
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0])
    }

    /// `s + x s (1 - s)` with `s` the sigmoid.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (gradient, x) = (site.required(back.gradients, 0)?, site.required(back.inputs, 0)?);
        if !slices::is_cpu_f32(x) || !slices::is_cpu_f32(gradient) {
            let s = (x.neg()?.exp()? + 1.0)?.recip()?;
            let slope = (&s + ((x * &s)? * s.affine(-1.0, 1.0)?)?)?;
            return Ok(vec![Some((gradient * slope)?)]);
        }
        let dx = elementwise::zip(
            x,
            gradient,
            #[inline(always)]
            |x: f32, g: f32| -> f32 {
                let s = 1.0 / (1.0 + math::exp(-x));
                g * (s + x * s * (1.0 - s))
            },
        )?;
        Ok(vec![Some(dx)])
    }

    fn problems(&self) -> Vec<Problem> {
        vec![
            Problem::new("odd sizes").random_in(&[3, 7], -4.0, 4.0),
            Problem::new("no elements").random(&[0, 4]),
        ]
    }
}
