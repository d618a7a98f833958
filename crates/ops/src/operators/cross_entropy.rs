//! `refit.SoftmaxCrossEntropy(logits [B, C], labels [B])`: mean of `-log softmax(logits)[label]`, with
//! `label_smoothing` e as the mean over `(1 - e) * one-hot + e / C` (Szegedy et al. 2016).

use crate::shapes::{integers, shaped};
use crate::{Backward, Known, OpError, Operator, Problem, Reads, Site};
use candle_core::{D, DType, Tensor};
use refit_graph::{Fact, OpName};

pub(crate) struct SoftmaxCrossEntropy;

impl Operator for SoftmaxCrossEntropy {
    fn name(&self) -> OpName {
        OpName::refit("SoftmaxCrossEntropy")
    }

    fn infer(&self, _site: &Site, inputs: &Known) -> Result<Vec<Fact>, OpError> {
        Ok(vec![shaped(inputs.dtype(0), Some(Vec::new()))])
    }

    fn forward(&self, site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
        let (logits, labels) = (site.required(inputs, 0)?, site.required(inputs, 1)?);
        let target = target(site, logits.dims(), labels)?.to_dtype(logits.dtype())?;
        let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
        let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let losses = (shifted.broadcast_sub(&log_sum)? * target)?.sum_all()?;
        Ok(vec![(losses * (-1.0 / logits.dims()[0] as f64))?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, _site: &Site, _wanted: &[bool]) -> Option<Reads> {
        Reads::inputs(&[0, 1])
    }

    /// `(softmax(logits) - target) / B`.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (logits, labels) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        let gradient = site.required(back.gradients, 0)?;
        let target = target(site, logits.dims(), labels)?.to_dtype(logits.dtype())?;
        let exp = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
        let p = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?;
        let slope = ((p - target)? / logits.dims()[0] as f64)?;
        Ok(vec![Some(slope.broadcast_mul(&gradient.reshape(())?)?), None])
    }

    fn problems(&self) -> Vec<Problem> {
        let logits = |what| Problem::new(what).random_in(&[3, 5], -3.0, 3.0).integers(&[3], &[4, 0, 2]);
        vec![logits("plain"), logits("smoothed").float("label_smoothing", 0.1)]
    }
}

/// The distribution that is asked for, [B, C].
fn target(site: &Site, logits: &[usize], labels: &Tensor) -> Result<Tensor, OpError> {
    let [rows, classes] = *logits else {
        return Err(site.refuse("logits need two dimensions"));
    };
    let device = labels.device();
    let labels = integers(site, labels)?;
    if labels.len() != rows || rows == 0 {
        return Err(site.refuse(format!("{} labels do not fit {rows} rows of logits", labels.len())));
    }
    let smoothing = site.node.float("label_smoothing").unwrap_or(0.0);
    let mut target = vec![smoothing / classes.max(1) as f32; rows * classes];
    for (row, label) in labels.iter().enumerate() {
        let class = usize::try_from(*label).ok().filter(|class| *class < classes);
        let class =
            class.ok_or_else(|| site.refuse(format!("label {label} is none of {classes} classes")))?;
        target[row * classes + class] += 1.0 - smoothing;
    }
    Ok(Tensor::from_vec(target, (rows, classes), device)?.to_dtype(DType::F32)?)
}
