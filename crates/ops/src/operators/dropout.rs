//! `refit.Dropout(x)` and the standard's `Dropout`: nothing when evaluating; in training each element is
//! dropped with probability `ratio` and the others are scaled by `1 / (1 - ratio)` (Srivastava et al.
//! 2014). The mask is a function of seed and position, so it is made again in the reverse pass, not kept.

use crate::kernels::{random, slices};
use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use rayon::prelude::*;
use refit_graph::{DType, Fact, OpName};

/// Whose dropout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropout {
    /// `refit.Dropout`, with attribute `ratio`.
    Refit,
    /// The standard's. Exported files carry it for evaluation: it drops only where refit trains.
    Standard,
}

impl Operator for Dropout {
    fn name(&self) -> OpName {
        match self {
            Self::Refit => OpName::refit("Dropout"),
            Self::Standard => OpName::standard("Dropout"),
        }
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        let x = inputs.fact(0);
        let mask = shaped(Some(DType::Bool), x.shape.clone());
        Ok(vec![Fact { elements: None, ..x }, mask])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let x = site.required(inputs, 0)?;
        let mut outputs = vec![apply(site, self.ratio(site, inputs.get(1))?, x)?];
        if site.node.output(1).is_some() {
            let kept = match site.seed {
                None => x.ones_like()?,
                Some(_) => apply(site, self.ratio(site, inputs.get(1))?, &x.ones_like()?)?,
            };
            outputs.push(kept.ne(0f64)?);
        }
        Ok(outputs)
    }

    fn host_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[1])
    }

    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let gradient = site.required(back.gradients, 0)?;
        Ok(vec![Some(apply(site, self.ratio(site, back.inputs.get(1))?, gradient)?), None, None])
    }

    fn problems(&self) -> Vec<Problem> {
        let x = |what| Problem::new(what).random(&[7, 5]);
        match self {
            Self::Refit => vec![
                x("training").float("ratio", 0.4).seed(3),
                x("evaluating").float("ratio", 0.4),
                x("nothing dropped").float("ratio", 0.0).seed(3),
            ],
            Self::Standard => vec![x("training").floats(&[], &[0.4]).seed(3), x("evaluating")],
        }
    }
}

impl Dropout {
    fn ratio(self, site: &Site, input: Option<&Option<Tensor>>) -> Result<f32, OpError> {
        let ratio = match (self, input) {
            (Self::Standard, Some(Some(ratio))) => {
                ratio.to_dtype(candle_core::DType::F32)?.reshape(())?.to_scalar::<f32>()?
            }
            (_, _) => site.node.float("ratio").unwrap_or(0.5),
        };
        if (0.0..1.0).contains(&ratio) {
            return Ok(ratio);
        }
        let why = format!("{ratio} does not lie between 0 and 1");
        Err(OpError::Attribute { op: site.node.op.clone(), name: "ratio", why })
    }
}

/// Drops elements of `x`: of the same ones whenever seed and ratio are the same.
fn apply(site: &Site, ratio: f32, x: &Tensor) -> Result<Tensor, OpError> {
    let Some(seed) = site.seed.filter(|_| ratio > 0.0) else { return Ok(x.clone()) };
    let dropped_below = (f64::from(ratio) * f64::from(u32::MAX)) as u32;
    let scale = 1.0 / (1.0 - ratio);
    // One number from the generator decides about two elements.
    let factor = |pair: u64, half: u32| {
        let bits = (random::mix(seed.wrapping_add(pair)) >> (32 * half)) as u32;
        if bits < dropped_below { 0.0 } else { scale }
    };
    if slices::is_cpu_f32(x) {
        let x = x.contiguous()?;
        const PAIRS: usize = 8 * 1024;
        let y = slices::with(&x, |x| {
            let mut y = x.to_vec();
            y.par_chunks_mut(2 * PAIRS).enumerate().for_each(|(chunk, y)| {
                for (pair, y) in y.chunks_mut(2).enumerate() {
                    for (half, y) in y.iter_mut().enumerate() {
                        *y *= factor((chunk * PAIRS + pair) as u64, half as u32);
                    }
                }
            });
            y
        })?;
        return Ok(Tensor::from_vec(y, x.dims(), x.device())?);
    }
    let mask: Vec<f32> = (0..x.elem_count() as u64).map(|i| factor(i / 2, (i % 2) as u32)).collect();
    let mask = Tensor::from_vec(mask, x.dims(), x.device())?.to_dtype(x.dtype())?;
    Ok((x * mask)?)
}
