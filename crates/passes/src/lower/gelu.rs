//! ```text
//! refit.Gelu(x), "none"  ->  Mul(Mul(x, Add(Erf(Div(x, sqrt 2)), 1)), 0.5)
//! refit.Gelu(x), "tanh"  ->  Mul(Mul(x, Add(Tanh(Mul(sqrt(2/pi), Add(x, Mul(0.044715, x^3)))), 1)), 0.5)
//! ```
//! The first is the form that PyTorch exports and that ONNX Runtime fuses, with the bias before it.

use crate::rewrite::Rewrite;
use refit_graph::{HostTensor, Node, OpName, ValueId};
use std::f32::consts::{FRAC_2_PI, SQRT_2};

pub(super) fn lower(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let x = rewrite.current(node.input(0)?);
    let name = |part: &str| format!("{}.{part}", node.name);
    let gate = match node.text("approximate").unwrap_or("none") {
        "none" => {
            let root = scalar(rewrite, SQRT_2);
            let scaled = rewrite.node(OpName::standard("Div"), &name("scaled"), &[x, root], []);
            rewrite.node(OpName::standard("Erf"), &name("erf"), &[scaled], [])
        }
        "tanh" => {
            let small = scalar(rewrite, 0.044715);
            let slope = scalar(rewrite, FRAC_2_PI.sqrt());
            let square = rewrite.node(OpName::standard("Mul"), &name("square"), &[x, x], []);
            let cube = rewrite.node(OpName::standard("Mul"), &name("cube"), &[square, x], []);
            let cube = rewrite.node(OpName::standard("Mul"), &name("small"), &[cube, small], []);
            let sum = rewrite.node(OpName::standard("Add"), &name("sum"), &[x, cube], []);
            let scaled = rewrite.node(OpName::standard("Mul"), &name("scaled"), &[sum, slope], []);
            rewrite.node(OpName::standard("Tanh"), &name("tanh"), &[scaled], [])
        }
        _ => return None,
    };
    let (one, half) = (scalar(rewrite, 1.0), scalar(rewrite, 0.5));
    let gate = rewrite.node(OpName::standard("Add"), &name("gate"), &[gate, one], []);
    let y = rewrite.node(OpName::standard("Mul"), &name("gated"), &[x, gate], []);
    let y = rewrite.node(OpName::standard("Mul"), &node.name, &[y, half], []);
    rewrite.replace(node.output(0)?, y);
    Some(())
}

fn scalar(rewrite: &mut Rewrite, value: f32) -> ValueId {
    rewrite.patch.initializer(&format!("constant_{value}"), HostTensor::from_f32(&[], &[value]), false)
}
