//! ```text
//! If(true; then, else)            ->  the nodes of `then`
//! Loop(3, true, s; body)          ->  body(0, s), body(1, ..), body(2, ..); what it collects is concatenated
//! Scan(s, xs of known length; body)  ->  body(s, xs[0]), body(.., xs[1]), ...
//! ```
//! A condition is known when it follows from constants and from the number of the iteration. Constants of a
//! body are shared by all its copies. What is not known stays as it is, and is an error only when it is run.

mod known;
mod loops;
mod scan;

use crate::{PassError, Simplify, rewrite::Rewrite};
use refit_graph::{Attribute, Bindings, Graph, HostTensor, Model, Node, OpName, Patch, ValueId};

/// Takes branches whose condition is known and unrolls loops whose length is.
#[derive(Debug, Clone, Copy)]
pub struct UnrollControlFlow;

/// More nodes than this are not made of one loop.
const MAX_NODES: usize = 20_000;

impl Simplify for UnrollControlFlow {
    fn name(&self) -> &'static str {
        "unroll-control-flow"
    }

    fn rewrite(&self, model: &Model) -> Result<Option<Patch>, PassError> {
        let mut rewrite = Rewrite::new(model);
        for (_, node) in model.graph.nodes() {
            let outputs = match node.op.name.as_str() {
                "If" if node.op.is("If") => branch(&mut rewrite, node)?,
                "Loop" if node.op.is("Loop") => loops::unroll(&mut rewrite, node)?,
                "Scan" if node.op.is("Scan") => scan::unroll(&mut rewrite, node)?,
                _ => None,
            };
            for (old, new) in node.outputs.iter().zip(outputs.into_iter().flatten()) {
                if let Some(old) = old {
                    rewrite.replace(*old, new);
                }
            }
        }
        Ok(rewrite.finish())
    }
}

/// The nodes of the branch that a known condition takes.
fn branch(rewrite: &mut Rewrite, node: &Node) -> Result<Option<Vec<ValueId>>, PassError> {
    let Some(taken) = node.input(0).and_then(|condition| truth(rewrite.constant(condition)?)) else {
        return Ok(None);
    };
    let Some(body) = body(node, if taken { "then_branch" } else { "else_branch" }) else { return Ok(None) };
    let Some(mut bound) = captures(rewrite, body) else { return Ok(None) };
    let graph = rewrite.graph();
    Ok(Some(rewrite.patch.inline(graph, body, &mut bound)?))
}

fn body<'a>(node: &'a Node, name: &str) -> Option<&'a Graph> {
    match node.attributes.get(name)? {
        Attribute::Graph(graph) => Some(graph),
        _ => None,
    }
}

/// What an inner graph reads from outside, as new nodes must read it.
fn captures(rewrite: &Rewrite, inner: &Graph) -> Option<Bindings> {
    let outer = |id: &ValueId| {
        let found = rewrite.graph().find(&inner.value(*id).name)?;
        Some((*id, rewrite.current(found)))
    };
    inner.captures().iter().map(outer).collect()
}

/// The only element of a boolean.
fn truth(tensor: &HostTensor) -> Option<bool> {
    match tensor.to_i64()?.as_slice() {
        [element] => Some(*element != 0),
        _ => None,
    }
}

/// Values of all iterations along a new axis.
fn stack(rewrite: &mut Rewrite, name: &str, values: &[ValueId], axis: i64) -> ValueId {
    let axes = rewrite.patch.initializer(&format!("{name}.axis"), HostTensor::from_i64(&[1], &[axis]), false);
    let with_input = rewrite.model.opset() >= 13;
    let unsqueeze = |value: &ValueId| {
        let name = format!("{name}.row");
        match with_input {
            true => rewrite.patch.node(OpName::standard("Unsqueeze"), &name, &[*value, axes], []),
            false => {
                let attribute = [("axes", Attribute::Ints(vec![axis]))];
                rewrite.patch.node(OpName::standard("Unsqueeze"), &name, &[*value], attribute)
            }
        }
    };
    let rows: Vec<ValueId> = values.iter().map(unsqueeze).collect();
    rewrite.patch.node(OpName::standard("Concat"), name, &rows, [("axis", Attribute::Int(axis))])
}
