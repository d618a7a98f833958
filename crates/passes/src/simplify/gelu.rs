//! ```text
//! the product of x, 0.5 and 1 + Erf(x / sqrt 2)                              ->  refit.Gelu(x; "none")
//! the product of x, 0.5 and 1 + Tanh(sqrt(2 / pi) (x + 0.044715 x^3))        ->  refit.Gelu(x; "tanh")
//! Gelu(x; approximate)                                                       ->  refit.Gelu(x; approximate)
//! ```
//! The three factors are multiplied in any order.

use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{Attribute, Model, Node, OpName, Patch, ValueId};
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_PI, SQRT_2};

/// Recognises GELU in its exact and its approximate form.
#[derive(Debug, Clone, Copy)]
pub struct RecogniseGelu;

impl Simplify for RecogniseGelu {
    fn name(&self) -> &'static str {
        "recognise-gelu"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes() {
            let Some(gate) = operator(node).or_else(|| product(&rewrite, node)) else { continue };
            let Some(y) = node.output(0) else { continue };
            let attributes = [("approximate", Attribute::String(gate.approximate.into()))];
            let new = rewrite.node(OpName::refit("Gelu"), &node.name, &[gate.x], attributes);
            rewrite.replace(y, new);
        }
        Ok(rewrite.finish())
    }
}

struct Gate {
    x: ValueId,
    approximate: &'static str,
}

fn operator(node: &Node) -> Option<Gate> {
    let approximate = match node.text("approximate").unwrap_or("none") {
        "none" => "none",
        "tanh" => "tanh",
        _ => return None,
    };
    node.op.is("Gelu").then_some(Gate { x: node.input(0)?, approximate })
}

fn product(rewrite: &Rewrite, node: &Node) -> Option<Gate> {
    rewrite.either_order(node.output(0)?, "Mul").into_iter().find_map(|(first, rest)| {
        let factors = rewrite.either_order(rest, "Mul");
        if let Some(gate) = gate(rewrite, first) {
            let rest_fits = |(a, b): &(ValueId, ValueId)| *a == gate.x && rewrite.is_scalar(*b, 0.5);
            return factors.iter().any(rest_fits).then_some(gate);
        }
        factors.into_iter().find_map(|(a, b)| {
            let gate = gate(rewrite, a)?;
            let x_and_half = (first == gate.x && rewrite.is_scalar(b, 0.5))
                || (b == gate.x && rewrite.is_scalar(first, 0.5));
            x_and_half.then_some(gate)
        })
    })
}

/// `1 + Erf(..)` or `1 + Tanh(..)`.
fn gate(rewrite: &Rewrite, value: ValueId) -> Option<Gate> {
    rewrite.either_order(value, "Add").into_iter().find_map(|(curve, one)| {
        if !rewrite.is_scalar(one, 1.0) {
            return None;
        }
        let exact = || Some(Gate { x: exact(rewrite, curve)?, approximate: "none" });
        let tanh = || Some(Gate { x: approximate(rewrite, curve)?, approximate: "tanh" });
        exact().or_else(tanh)
    })
}

/// `Erf(x / sqrt 2)`: x.
fn exact(rewrite: &Rewrite, value: ValueId) -> Option<ValueId> {
    let scaled = rewrite.made_by(value, "Erf")?.input(0)?;
    if let Some(div) = rewrite.made_by(scaled, "Div") {
        return rewrite.is_scalar(div.input(1)?, SQRT_2).then_some(div.input(0)?);
    }
    let factors = rewrite.either_order(scaled, "Mul");
    factors.into_iter().find_map(|(x, factor)| rewrite.is_scalar(factor, FRAC_1_SQRT_2).then_some(x))
}

/// `Tanh(sqrt(2 / pi) (x + 0.044715 x^3))`: x.
fn approximate(rewrite: &Rewrite, value: ValueId) -> Option<ValueId> {
    let scaled = rewrite.made_by(value, "Tanh")?.input(0)?;
    let times = |value, factor: f32| {
        let factors = rewrite.either_order(value, "Mul");
        factors.into_iter().find_map(|(a, b)| rewrite.is_scalar(b, factor).then_some(a))
    };
    let sum = times(scaled, FRAC_2_PI.sqrt())?;
    rewrite.either_order(sum, "Add").into_iter().find_map(|(x, small)| {
        let cube = times(small, 0.044715)?;
        (cube_of(rewrite, cube)? == x).then_some(x)
    })
}

fn cube_of(rewrite: &Rewrite, value: ValueId) -> Option<ValueId> {
    if let Some(pow) = rewrite.made_by(value, "Pow") {
        return rewrite.is_scalar(pow.input(1)?, 3.0).then_some(pow.input(0)?);
    }
    rewrite.either_order(value, "Mul").into_iter().find_map(|(square, x)| {
        let square = rewrite.made_by(square, "Mul")?;
        (square.input(0) == Some(x) && square.input(1) == Some(x)).then_some(x)
    })
}
