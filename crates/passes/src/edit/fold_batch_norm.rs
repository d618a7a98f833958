//! Folds batch normalization by its running statistics into the convolution before it, as engines do for float32
//! and cannot do any more once the convolution is quantized.
//!
//! ```text
//! x -> Conv(W, b) -> BatchNormalization(scale, shift, mean, variance) -> y
//! =>  x -> Conv(W * f, (b - mean) * f + shift) -> y,   f = scale / sqrt(variance + epsilon), one a channel
//! ```

use crate::rewrite::Rewrite;
use crate::{Edit, PassError, Tolerance};
use refit_graph::{HostTensor, Model, Node, Patch, ValueId};

/// Largest difference that folding may make, of outputs of order one.
const ROUNDING: f32 = 1e-4;

/// What BatchNormalization adds to a variance when it does not say otherwise.
const DEFAULT_EPSILON: f32 = 1e-5;

/// Folds every batch normalization of a lowered model that follows a convolution whose result nobody else reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldBatchNorm;

impl Edit for FoldBatchNorm {
    fn name(&self) -> &'static str {
        "fold-batch-norm"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Rounding(ROUNDING)
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes() {
            if node.op.is("BatchNormalization") {
                fold(&mut rewrite, node);
            }
        }
        Ok(rewrite.patch)
    }
}

fn fold(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let (x, y) = (node.input(0)?, node.output(0)?);
    if node.outputs.iter().skip(1).flatten().next().is_some() || node.int("training_mode") == Some(1) {
        return None;
    }
    let conv = rewrite.made_by(x, "Conv").filter(|_| rewrite.read_once(x))?;
    let weight = conv.input(1).filter(|weight| rewrite.read_once(*weight))?;
    let values = |id: ValueId| rewrite.constant(id).and_then(HostTensor::to_f32);
    let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|index| node.input(index).and_then(values));
    let (scale, shift, mean, variance) = (scale?, shift?, mean?, variance?);
    let epsilon = node.float("epsilon").unwrap_or(DEFAULT_EPSILON);
    let factors: Vec<f32> =
        scale.iter().zip(&variance).map(|(scale, variance)| scale / (variance + epsilon).sqrt()).collect();

    let tensor = rewrite.constant(weight)?;
    let channels = *tensor.shape().first()?;
    if [factors.len(), shift.len(), mean.len()] != [channels; 3] {
        return None;
    }
    let of_channel = tensor.len() / channels.max(1);
    let weights: Vec<f32> =
        tensor.to_f32()?.iter().enumerate().map(|(place, w)| w * factors[place / of_channel]).collect();
    let bias = match conv.input(2) {
        Some(bias) => values(bias)?,
        None => vec![0.0; channels],
    };
    let bias: Vec<f32> = (0..channels).map(|c| (bias[c] - mean[c]) * factors[c] + shift[c]).collect();

    let name = rewrite.graph().value(weight).name.clone();
    let weights = HostTensor::from_f32(tensor.shape(), &weights);
    let new_weight = rewrite.patch.initializer(&name, weights, false);
    rewrite.patch.rename(new_weight, &name);
    let bias = HostTensor::from_f32(&[channels], &bias);
    let bias = rewrite.patch.initializer(&format!("{name}.folded_bias"), bias, false);
    let mut new = conv.clone();
    new.inputs.truncate(2);
    new.inputs[1] = Some(new_weight);
    new.inputs.push(Some(bias));
    rewrite.replace_node(conv, new);
    let convolved = rewrite.current(x);
    rewrite.replace(y, convolved);
    Some(())
}
