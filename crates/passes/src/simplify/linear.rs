//! ```text
//! Add(MatMul(x, W [K, N]), bias [N])                 ->  refit.Linear(x, W, bias; transB = 0)
//! MatMul(x, W [K, N])                                ->  refit.Linear(x, W; transB = 0)
//! Gemm(x, W, bias; transB), alpha = beta = 1         ->  refit.Linear(x, W, bias; transB)
//! ```
//! W is a constant, so that a product of two activations stays a `MatMul`.

use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{Attribute, Model, Node, OpName, Patch, ValueId};
use std::collections::HashSet;

/// Recognises products with a weight matrix.
#[derive(Debug, Clone, Copy)]
pub struct RecogniseLinear;

impl Simplify for RecogniseLinear {
    fn name(&self) -> &'static str {
        "recognise-linear"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        let with_bias: Vec<Found> =
            model.graph.nodes().filter_map(|(_, node)| product_and_bias(&rewrite, node)).collect();
        let taken: HashSet<ValueId> = with_bias.iter().map(|found| found.product).collect();
        let mut with_bias = with_bias.into_iter().peekable();
        for (_, node) in model.graph.nodes() {
            let found = match with_bias.next_if(|found| node.output(0) == Some(found.y)) {
                Some(found) => Some(found),
                None => product(&rewrite, node).or_else(|| gemm(&rewrite, node)),
            };
            if let Some(found) = found.filter(|found| !taken.contains(&found.y)) {
                let inputs: Vec<ValueId> = [found.x, found.weight].into_iter().chain(found.bias).collect();
                let attributes = [("transB", Attribute::Int(found.trans_b))];
                let y = rewrite.node(OpName::refit("Linear"), &found.name, &inputs, attributes);
                rewrite.replace(found.y, y);
            }
        }
        Ok(rewrite.finish())
    }
}

struct Found {
    name: String,
    x: ValueId,
    weight: ValueId,
    bias: Option<ValueId>,
    trans_b: i64,
    /// Value of the product, before the bias.
    product: ValueId,
    y: ValueId,
}

fn is_matrix(rewrite: &Rewrite, value: ValueId) -> bool {
    rewrite.constant(value).is_some_and(|tensor| tensor.shape().len() == 2 && tensor.dtype().is_float())
}

fn product(rewrite: &Rewrite, node: &Node) -> Option<Found> {
    let (x, weight, y) = (node.input(0)?, node.input(1)?, node.output(0)?);
    let fits = node.op.is("MatMul") && is_matrix(rewrite, weight) && rewrite.constant(x).is_none();
    fits.then(|| Found { name: node.name.clone(), x, weight, bias: None, trans_b: 0, product: y, y })
}

fn product_and_bias(rewrite: &Rewrite, node: &Node) -> Option<Found> {
    let y = node.output(0)?;
    rewrite.either_order(y, "Add").into_iter().find_map(|(value, bias)| {
        let product = product(rewrite, rewrite.producer(value)?)?;
        let columns = rewrite.constant(product.weight)?.shape()[1];
        let fits = rewrite.constant(bias)?.shape() == [columns] && rewrite.read_once(value);
        fits.then_some(Found { bias: Some(bias), y, ..product })
    })
}

fn gemm(rewrite: &Rewrite, node: &Node) -> Option<Found> {
    let (x, weight, y) = (node.input(0)?, node.input(1)?, node.output(0)?);
    let trans_b = node.int("transB").unwrap_or(0);
    let bias = node.input(2);
    let plain = node.op.is("Gemm")
        && node.int("transA").unwrap_or(0) == 0
        && node.float("alpha").unwrap_or(1.0) == 1.0
        && (bias.is_none() || node.float("beta").unwrap_or(1.0) == 1.0)
        && is_matrix(rewrite, weight);
    if !plain {
        return None;
    }
    let columns = rewrite.constant(weight)?.shape()[usize::from(trans_b == 0)];
    if let Some(bias) = bias
        && rewrite.constant(bias)?.shape() != [columns]
    {
        return None;
    }
    Some(Found { name: node.name.clone(), x, weight, bias, trans_b: i64::from(trans_b != 0), product: y, y })
}
