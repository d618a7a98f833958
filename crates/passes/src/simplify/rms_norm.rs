//! ```text
//! RMSNormalization(x, gamma; axis = last, epsilon)                                  } ->  refit.RmsNorm(x, gamma; epsilon)
//!                                                                                   }
//! r = Sqrt(Add(ReduceMean(Pow(x, 2)), epsilon)); Mul(gamma, Mul(x, Reciprocal(r)))  }
//! ```
//! The square may be `Mul(x, x)`, and the division `Div(x, r)` or `Mul(x, Div(1, r))`.

use super::layer_norm::{is_vector, last_mean, square_of};
use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{Attribute, Model, Node, OpName, Patch, ValueId};

/// Recognises root mean square normalization over the last axis.
#[derive(Debug, Clone, Copy)]
pub struct RecogniseRmsNorm;

/// The standard's epsilon where none is given.
const DEFAULT_EPSILON: f32 = 1e-5;

impl Simplify for RecogniseRmsNorm {
    fn name(&self) -> &'static str {
        "recognise-rms-norm"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes() {
            let Some(found) = operator(&rewrite, node).or_else(|| decomposed(&rewrite, node)) else {
                continue;
            };
            let Some(y) = node.output(0) else { continue };
            let attributes = [("epsilon", Attribute::Float(found.epsilon))];
            let new = rewrite.node(OpName::refit("RmsNorm"), &node.name, &[found.x, found.gamma], attributes);
            rewrite.replace(y, new);
        }
        Ok(rewrite.finish())
    }
}

struct Found {
    x: ValueId,
    gamma: ValueId,
    epsilon: f32,
}

fn operator(rewrite: &Rewrite, node: &Node) -> Option<Found> {
    let (x, gamma) = (node.input(0)?, node.input(1)?);
    let fits = node.op.is("RMSNormalization")
        && rewrite.is_last_axis(node.int("axis").unwrap_or(-1), x)
        && is_vector(rewrite, gamma);
    fits.then(|| Found { x, gamma, epsilon: node.float("epsilon").unwrap_or(DEFAULT_EPSILON) })
}

fn decomposed(rewrite: &Rewrite, node: &Node) -> Option<Found> {
    rewrite.either_order(node.output(0)?, "Mul").into_iter().find_map(|(normal, gamma)| {
        let (x, epsilon) = normalized(rewrite, normal).filter(|_| is_vector(rewrite, gamma))?;
        Some(Found { x, gamma, epsilon })
    })
}

/// `x` over the root of its mean square: x and epsilon.
fn normalized(rewrite: &Rewrite, value: ValueId) -> Option<(ValueId, f32)> {
    let epsilon_of = |x: ValueId, root: ValueId| {
        let sum = rewrite.made_by(root, "Sqrt")?.input(0)?;
        rewrite.either_order(sum, "Add").into_iter().find_map(|(mean, epsilon)| {
            let epsilon = rewrite.scalar(epsilon)?;
            (square_of(rewrite, last_mean(rewrite, mean)?)? == x).then_some((x, epsilon))
        })
    };
    if let Some(div) = rewrite.made_by(value, "Div") {
        return epsilon_of(div.input(0)?, div.input(1)?);
    }
    rewrite.either_order(value, "Mul").into_iter().find_map(|(x, inverse)| {
        let root = match rewrite.producer(inverse)? {
            node if node.op.is("Reciprocal") => node.input(0)?,
            node if node.op.is("Div") && rewrite.is_scalar(node.input(0)?, 1.0) => node.input(1)?,
            _ => return None,
        };
        epsilon_of(x, root)
    })
}
