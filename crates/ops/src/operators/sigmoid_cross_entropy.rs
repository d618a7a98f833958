//! `refit.SigmoidCrossEntropy(logits [B, C], targets [B, C])`: mean over all elements of
//! `-(t ln s(x) + (1 - t) ln(1 - s(x)))` with the logistic function `s`, computed as
//! `max(x, 0) - x t + ln(1 + exp(-|x|))`, which neither overflows nor cancels.

use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Fact, OpName};

pub(crate) struct SigmoidCrossEntropy;

impl Operator for SigmoidCrossEntropy {
    fn name(&self) -> OpName {
        OpName::refit("SigmoidCrossEntropy")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![shaped(inputs.dtype(0), Some(Vec::new()))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (logits, targets) = operands(site, inputs)?;
        let softplus = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
        let losses = ((logits.relu()? - (logits * targets)?)? + softplus)?;
        Ok(vec![(losses.sum_all()? / logits.elem_count() as f64)?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    /// `(s(logits) - targets) / (B C)`.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (logits, targets) = operands(site, back.inputs)?;
        let gradient = site.required(back.gradients, 0)?;
        let probability = ((logits * 0.5)?.tanh()? + 1.0)?.affine(0.5, 0.0)?;
        let slope = ((probability - targets)? / logits.elem_count() as f64)?;
        Ok(vec![Some(slope.broadcast_mul(&gradient.reshape(())?)?), None])
    }

    fn problems(&self) -> Vec<Problem> {
        let logits = |what, shape: &[usize]| Problem::new(what).random_in(shape, -4.0, 4.0);
        vec![
            logits("soft targets", &[3, 4]).random_in(&[3, 4], 0.0, 1.0),
            logits("one label", &[5, 1]).random_in(&[5, 1], 0.0, 1.0),
        ]
    }
}

fn operands<'a>(site: &Site, inputs: &'a [Option<Tensor>]) -> Result<(&'a Tensor, &'a Tensor), OpError> {
    let (logits, targets) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
    if logits.dims() != targets.dims() || logits.elem_count() == 0 {
        return Err(site.refuse(format!(
            "targets of shape {:?} do not fit logits of shape {:?}",
            targets.dims(),
            logits.dims()
        )));
    }
    Ok((logits, targets))
}
