//! Fused operators that the portable opset has not become the pieces that exporters write.
//!
//! ```text
//! refit.RmsNorm(x, gamma)     ->  Mul(Div(x, Sqrt(Add(ReduceMean(Mul(x, x)), epsilon))), gamma)
//! refit.Rotary(x, cos, sin)   ->  Add(Mul(x, cos), Mul(Concat(Neg(second half), first half), sin))
//! refit.Silu(x)               ->  Mul(x, Sigmoid(x))
//! ```

use crate::rewrite::Rewrite;
use refit_graph::{Attribute, HostTensor, Node, OpName, ValueId};

pub(super) fn rms_norm(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let (x, gamma) = (rewrite.current(node.input(0)?), rewrite.current(node.input(1)?));
    let epsilon = node.float("epsilon").unwrap_or(1e-5);
    let epsilon = rewrite.patch.initializer("epsilon", HostTensor::from_f32(&[], &[epsilon]), false);
    let square = piece(rewrite, node, "Mul", "square", &[x, x]);
    let axes = [("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(1))];
    let name = format!("{}.mean", node.name);
    let mean = rewrite.node(OpName::standard("ReduceMean"), &name, &[square], axes);
    let sum = piece(rewrite, node, "Add", "sum", &[mean, epsilon]);
    let root = piece(rewrite, node, "Sqrt", "root", &[sum]);
    let normal = piece(rewrite, node, "Div", "normal", &[x, root]);
    let y = rewrite.node(OpName::standard("Mul"), &node.name, &[normal, gamma], []);
    rewrite.replace(node.output(0)?, y);
    Some(())
}

pub(super) fn rotary(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let width = rewrite.shape(node.input(0)?)?.last()?.known()?;
    let [x, cos, sin] = [0, 1, 2].map(|index| node.input(index).map(|id| rewrite.current(id)));
    let (x, cos, sin) = (x?, cos?, sin?);
    let half = (width / 2) as i64;
    let mut slice = |start: i64, name: &str| {
        let number = |rewrite: &mut Rewrite, value: i64| {
            rewrite.patch.initializer("bound", HostTensor::from_i64(&[1], &[value]), false)
        };
        let bounds = [start, start + half, -1].map(|value| number(rewrite, value));
        piece(rewrite, node, "Slice", name, &[x, bounds[0], bounds[1], bounds[2]])
    };
    let (first, second) = (slice(0, "first"), slice(half, "second"));
    let negative = piece(rewrite, node, "Neg", "negative", &[second]);
    let last = [("axis", Attribute::Int(-1))];
    let name = format!("{}.swapped", node.name);
    let swapped = rewrite.node(OpName::standard("Concat"), &name, &[negative, first], last);
    let plain = piece(rewrite, node, "Mul", "plain", &[x, cos]);
    let turned = piece(rewrite, node, "Mul", "turned", &[swapped, sin]);
    let y = rewrite.node(OpName::standard("Add"), &node.name, &[plain, turned], []);
    rewrite.replace(node.output(0)?, y);
    Some(())
}

pub(super) fn silu(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let x = rewrite.current(node.input(0)?);
    let gate = piece(rewrite, node, "Sigmoid", "gate", &[x]);
    let y = rewrite.node(OpName::standard("Mul"), &node.name, &[x, gate], []);
    rewrite.replace(node.output(0)?, y);
    Some(())
}

fn piece(rewrite: &mut Rewrite, node: &Node, op: &str, part: &str, inputs: &[ValueId]) -> ValueId {
    rewrite.node(OpName::standard(op), &format!("{}.{part}", node.name), inputs, [])
}
