//! `refit.HuberLoss(predictions, targets)`: mean over all elements of the squared error `e^2`, or with `delta` d > 0 of
//! Huber's loss, `e^2 / 2` up to `|e| = d` and `d (|e| - d / 2)` beyond (Huber 1964; PyTorch's `HuberLoss`).

use crate::shapes::shaped;
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::Tensor;
use refit_graph::{Fact, OpName};

pub(crate) struct HuberLoss;

impl Operator for HuberLoss {
    fn name(&self) -> OpName {
        OpName::refit("HuberLoss")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![shaped(inputs.dtype(0), Some(Vec::new()))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let error = error(site, inputs)?;
        let losses = match delta(site) {
            None => error.sqr()?,
            // With c = e cut to [-d, d], both branches are c (e - c / 2).
            Some(delta) => {
                let cut = error.clamp(-delta, delta)?;
                (&cut * (&error - (&cut * 0.5)?)?)?
            }
        };
        Ok(vec![(losses.sum_all()? / error.elem_count() as f64)?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    /// `2 e / n`, or e cut to [-d, d], `/ n`.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let error = error(site, back.inputs)?;
        let slope = match delta(site) {
            None => (&error * 2.0)?,
            Some(delta) => error.clamp(-delta, delta)?,
        };
        let gradient = site.required(back.gradients, 0)?.reshape(())?;
        Ok(vec![Some((slope / error.elem_count() as f64)?.broadcast_mul(&gradient)?), None])
    }

    fn problems(&self) -> Vec<Problem> {
        let values = |what| Problem::new(what).random_in(&[6, 1], -2.0, 2.0).random_in(&[6, 1], -2.0, 2.0);
        vec![values("squared"), values("huber").float("delta", 0.75)]
    }
}

fn delta(site: &Site) -> Option<f32> {
    site.node.float("delta").filter(|delta| *delta > 0.0)
}

fn error(site: &Site, inputs: &[Option<Tensor>]) -> Result<Tensor, OpError> {
    let (predictions, targets) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
    if predictions.dims() != targets.dims() || predictions.elem_count() == 0 {
        return Err(site.refuse(format!(
            "targets of shape {:?} do not fit predictions of shape {:?}",
            targets.dims(),
            predictions.dims()
        )));
    }
    Ok((predictions - targets)?)
}
