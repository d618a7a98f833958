//! `refit.SoftmaxCrossEntropy(logits [..., C], labels [...], weight [C]?)`: mean of `-log softmax(logits)[label]`,
//! with `label_smoothing` e as the mean over `(1 - e) * one-hot + e / C` (Szegedy et al. 2016). A place with a
//! negative label (-100 by custom) is ignored: it has no loss and is not counted.
//!
//! A weight multiplies what is asked for of its class, and the mean is over the weights of the labels:
//! `CrossEntropyLoss(weight=..., label_smoothing=...)` of PyTorch 2.

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
        let (logits, labels) = (flat(site, site.required(inputs, 0)?)?, site.required(inputs, 1)?);
        let (target, counted) = target(site, logits.dims(), labels, inputs.get(2))?;
        let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
        let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let losses = (shifted.broadcast_sub(&log_sum)? * target.to_dtype(logits.dtype())?)?.sum_all()?;
        Ok(vec![(losses * (-1.0 / counted))?])
    }

    fn differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self, site: &Site, _wanted: &[bool]) -> Option<Reads> {
        let weighted = site.node.input(2).is_some();
        Reads::inputs(if weighted { &[0, 1, 2] } else { &[0, 1] })
    }

    /// `(softmax(logits) * sum(target) - target) / n`: where a place does not count, its target is 0.
    fn vjp(&self, site: &Site, back: &Backward) -> Result<Vec<Option<Tensor>>, OpError> {
        let (given, labels) = (site.required(back.inputs, 0)?, site.required(back.inputs, 1)?);
        let logits = flat(site, given)?;
        let gradient = site.required(back.gradients, 0)?;
        let (target, counted) = target(site, logits.dims(), labels, back.inputs.get(2))?;
        let target = target.to_dtype(logits.dtype())?;
        let exp = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
        let p = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?;
        // The target of a place that counts sums to 1 without weights, of another to 0.
        let p = p.broadcast_mul(&target.sum_keepdim(D::Minus1)?)?;
        let slope = ((p - target)? / counted)?.reshape(given.shape())?;
        let mut gradients = vec![Some(slope.broadcast_mul(&gradient.reshape(())?)?), None];
        gradients.resize(back.inputs.len().max(2), None);
        Ok(gradients)
    }

    fn problems(&self) -> Vec<Problem> {
        let logits = |what| Problem::new(what).random_in(&[3, 5], -3.0, 3.0).integers(&[3], &[4, 0, 2]);
        let weighted = |what| logits(what).floats(&[5], &[0.5, 1.0, 2.0, 1.5, 3.0]);
        let tokens = |what| {
            Problem::new(what).random_in(&[2, 3, 4], -3.0, 3.0).integers(&[2, 3], &[3, -100, 0, 1, 2, -100])
        };
        vec![
            logits("plain"),
            logits("smoothed").float("label_smoothing", 0.1),
            tokens("of tokens, some ignored"),
            tokens("of tokens, smoothed").float("label_smoothing", 0.2),
            weighted("weighted"),
            weighted("weighted and smoothed").float("label_smoothing", 0.1),
        ]
    }
}

/// Logits as [places, classes].
fn flat(site: &Site, logits: &Tensor) -> Result<Tensor, OpError> {
    match logits.dims().split_last() {
        Some((classes, [_, ..])) => Ok(logits.contiguous()?.reshape(((), *classes))?),
        _ => Err(site.refuse("logits need two dimensions at least")),
    }
}

/// The distribution that is asked for, [places, C], times the weights, zero where a place is ignored; and the weight
/// of those that are not, without weights their number (at least 1).
fn target(
    site: &Site,
    logits: &[usize],
    labels: &Tensor,
    weight: Option<&Option<Tensor>>,
) -> Result<(Tensor, f64), OpError> {
    let [rows, classes] = *logits else {
        return Err(site.refuse("logits need two dimensions at least"));
    };
    let device = labels.device();
    let labels = integers(site, labels)?;
    if labels.len() != rows || rows == 0 {
        return Err(site.refuse(format!("{} labels do not fit {rows} rows of logits", labels.len())));
    }
    let weights = match weight.and_then(Option::as_ref) {
        Some(weight) => Some(weight.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?),
        None => None,
    };
    if let Some(weights) = weights.as_ref().filter(|weights| weights.len() != classes) {
        return Err(site.refuse(format!("{} weights do not fit {classes} classes", weights.len())));
    }
    let weight = |class: usize| weights.as_ref().map_or(1.0, |weights| weights[class]);
    let smoothing = site.node.float("label_smoothing").unwrap_or(0.0);
    let spread: Vec<f32> = (0..classes).map(|class| weight(class) * smoothing / classes as f32).collect();
    let mut target = vec![0.0; rows * classes];
    let mut counted = 0.0;
    for (row, label) in labels.iter().enumerate().filter(|(_, label)| **label >= 0) {
        let class = usize::try_from(*label).ok().filter(|class| *class < classes);
        let class =
            class.ok_or_else(|| site.refuse(format!("label {label} is none of {classes} classes")))?;
        target[row * classes..(row + 1) * classes].copy_from_slice(&spread);
        target[row * classes + class] += (1.0 - smoothing) * weight(class);
        counted += f64::from(weight(class));
    }
    let target = Tensor::from_vec(target, (rows, classes), device)?.to_dtype(DType::F32)?;
    Ok((target, if counted > 0.0 { counted } else { 1.0 }))
}
