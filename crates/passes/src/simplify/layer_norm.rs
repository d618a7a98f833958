//! ```text
//! LayerNormalization(x, gamma, beta; axis = last, epsilon)
//!
//! d = Sub(x, ReduceMean(x)); v = ReduceMean(Pow(d, 2))        } ->  refit.LayerNorm(x, gamma, beta; epsilon)
//! Add(Mul(Div(d, Sqrt(Add(v, epsilon))), gamma), beta)        }
//! ```
//! The square may be `Mul(d, d)`, and `d` may be computed twice, as older exporters do.

use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{Attribute, HostTensor, Model, Node, OpName, Patch, ValueId};

/// Recognises layer normalization over the last axis.
#[derive(Debug, Clone, Copy)]
pub struct RecogniseLayerNorm;

/// The standard's epsilon where none is given.
const DEFAULT_EPSILON: f32 = 1e-5;

impl Simplify for RecogniseLayerNorm {
    fn name(&self) -> &'static str {
        "recognise-layer-norm"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes() {
            let Some(found) = operator(&rewrite, node).or_else(|| decomposed(&rewrite, node)) else {
                continue;
            };
            let Some(y) = node.output(0) else { continue };
            let beta = match found.beta {
                Some(beta) => beta,
                None => zeros_like(&mut rewrite, found.gamma, &node.name),
            };
            let attributes = [("epsilon", Attribute::Float(found.epsilon))];
            let inputs = [found.x, found.gamma, beta];
            let new = rewrite.node(OpName::refit("LayerNorm"), &node.name, &inputs, attributes);
            rewrite.replace(y, new);
        }
        Ok(rewrite.finish())
    }
}

struct Found {
    x: ValueId,
    gamma: ValueId,
    beta: Option<ValueId>,
    epsilon: f32,
}

fn zeros_like(rewrite: &mut Rewrite, gamma: ValueId, name: &str) -> ValueId {
    let width = rewrite.constant(gamma).map_or(0, HostTensor::len);
    let zeros = HostTensor::from_f32(&[width], &vec![0.0; width]);
    rewrite.patch.initializer(&format!("{name}.beta"), zeros, false)
}

pub(super) fn is_vector(rewrite: &Rewrite, value: ValueId) -> bool {
    rewrite.constant(value).is_some_and(|tensor| tensor.shape().len() == 1 && tensor.dtype().is_float())
}

fn operator(rewrite: &Rewrite, node: &Node) -> Option<Found> {
    let (x, gamma, beta) = (node.input(0)?, node.input(1)?, node.input(2));
    let fits = node.op.is("LayerNormalization")
        && rewrite.is_last_axis(node.int("axis").unwrap_or(-1), x)
        && node.outputs.iter().skip(1).flatten().all(|statistic| rewrite.unread(*statistic))
        && is_vector(rewrite, gamma)
        && beta.is_none_or(|beta| is_vector(rewrite, beta));
    let epsilon = node.float("epsilon").unwrap_or(DEFAULT_EPSILON);
    fits.then_some(Found { x, gamma, beta, epsilon })
}

fn decomposed(rewrite: &Rewrite, node: &Node) -> Option<Found> {
    let y = node.output(0)?;
    for (scaled, beta) in rewrite.either_order(y, "Add") {
        for (normal, gamma) in rewrite.either_order(scaled, "Mul") {
            if is_vector(rewrite, beta)
                && is_vector(rewrite, gamma)
                && let Some((x, epsilon)) = normalized(rewrite, normal)
            {
                return Some(Found { x, gamma, beta: Some(beta), epsilon });
            }
        }
    }
    None
}

/// `Div(d, Sqrt(Add(mean of d squared, epsilon)))`: x and epsilon.
fn normalized(rewrite: &Rewrite, value: ValueId) -> Option<(ValueId, f32)> {
    let div = rewrite.made_by(value, "Div")?;
    let x = centred(rewrite, div.input(0)?)?;
    let root = rewrite.made_by(div.input(1)?, "Sqrt")?;
    rewrite.either_order(root.input(0)?, "Add").into_iter().find_map(|(variance, epsilon)| {
        let epsilon = rewrite.scalar(epsilon)?;
        let squared = last_mean(rewrite, variance)?;
        (centred(rewrite, square_of(rewrite, squared)?)? == x).then_some((x, epsilon))
    })
}

/// `Sub(x, mean of x)`: x.
fn centred(rewrite: &Rewrite, value: ValueId) -> Option<ValueId> {
    let sub = rewrite.made_by(value, "Sub")?;
    let x = sub.input(0)?;
    (last_mean(rewrite, sub.input(1)?)? == x).then_some(x)
}

pub(super) fn square_of(rewrite: &Rewrite, value: ValueId) -> Option<ValueId> {
    if let Some(pow) = rewrite.made_by(value, "Pow") {
        return rewrite.is_scalar(pow.input(1)?, 2.0).then_some(pow.input(0)?);
    }
    let mul = rewrite.made_by(value, "Mul")?;
    (mul.input(0) == mul.input(1)).then_some(mul.input(0)?)
}

/// `ReduceMean(x)` over the last axis with the axis kept: x.
pub(super) fn last_mean(rewrite: &Rewrite, value: ValueId) -> Option<ValueId> {
    let mean = rewrite.made_by(value, "ReduceMean")?;
    let x = mean.input(0)?;
    let axes = match mean.input(1) {
        Some(axes) => rewrite.constant(axes)?.to_i64()?,
        None => mean.ints("axes")?.to_vec(),
    };
    let fits = mean.int("keepdims").unwrap_or(1) == 1 && axes.len() == 1 && rewrite.is_last_axis(axes[0], x);
    fits.then_some(x)
}
