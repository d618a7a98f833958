//! Where a head goes.

use super::last_dimension;
use crate::HIDDEN_STATE;
use refit_graph::{DType, Graph, Node, OpName, Patch, ValueId};

/// The value that a head reads.
pub(super) struct Place {
    pub(super) value: ValueId,
    /// What the file calls it.
    pub(super) name: String,
    /// Length of its vectors.
    pub(super) size: usize,
    /// Whether there is one vector an example: `[batch, hidden]` instead of `[batch, sequence, hidden]`.
    pub(super) is_pooled: bool,
}

/// A value that the user named, as one more output of the graph, so that no pass takes it away.
pub(super) struct Named {
    output: usize,
    name: String,
}

/// Keeps the value of this name.
pub(super) fn expose(graph: &mut Graph, name: &str) -> Result<Named, String> {
    let Some(value) = graph.find(name) else {
        let ends: Vec<String> = norms(graph).take(4).map(|id| quoted(graph, id)).collect();
        return Err(format!(
            "it has no value \"{name}\" for the head to read; its outputs are {}{}",
            list(graph),
            if ends.is_empty() { String::new() } else { format!(", and its last norms {}", ends.join(", ")) }
        ));
    };
    let mut outputs = graph.outputs().to_vec();
    let output = outputs.iter().position(|id| *id == value).unwrap_or(outputs.len());
    if output == outputs.len() {
        outputs.push(value);
        let mut patch = Patch::new(graph);
        patch.set_outputs(outputs);
        patch.apply(graph).map_err(|error| format!("\"{name}\" cannot become an output: {error}"))?;
    }
    Ok(Named { output, name: name.to_owned() })
}

/// The named value, or by itself, in this order:
/// 1. the output `last_hidden_state`, or of several hidden states among the outputs the one that is made last;
/// 2. the last normalised value of that form;
/// 3. one vector an example: what the last linear layer before the outputs reads.
pub(super) fn find(graph: &Graph, named: Option<Named>) -> Result<Place, String> {
    if let Some(Named { output, name }) = named {
        let value = graph.outputs().get(output).copied();
        let value = value.ok_or_else(|| format!("\"{name}\" was lost when the graph was simplified"))?;
        return place(graph, value, name).ok_or_else(|| {
            format!(
                "a head needs vectors [batch, sequence, hidden] or [batch, hidden] of a fixed length, but {} is {}",
                quoted(graph, value),
                graph.fact(value)
            )
        });
    }
    let found = [hidden_output(graph), hidden_norm(graph), before_last_linear(graph)];
    let value = found.into_iter().flatten().next();
    value.and_then(|value| place(graph, value, graph.value(value).name.clone())).ok_or_else(|| {
        format!(
            "none of its outputs ({}) is of shape [batch, sequence, hidden], and neither a norm nor a linear layer \
             before them gives vectors of a fixed length; name the place: head = {{ at = \"...\" }}",
            list(graph)
        )
    })
}

fn place(graph: &Graph, value: ValueId, name: String) -> Option<Place> {
    let fact = graph.fact(value);
    let is_pooled = match fact.rank()? {
        2 => true,
        3 => false,
        _ => return None,
    };
    let is_float = fact.dtype.is_none_or(DType::is_float);
    Some(Place { value, name, size: last_dimension(graph, value).filter(|_| is_float)?, is_pooled })
}

fn is_hidden(graph: &Graph, id: ValueId) -> bool {
    let fact = graph.fact(id);
    fact.rank() == Some(3) && fact.dtype.is_none_or(DType::is_float) && last_dimension(graph, id).is_some()
}

fn hidden_output(graph: &Graph) -> Option<ValueId> {
    let outputs: Vec<ValueId> = graph.outputs().iter().copied().filter(|id| is_hidden(graph, *id)).collect();
    let named = outputs.iter().find(|id| graph.value(**id).name == HIDDEN_STATE);
    // Exporters also give the states of earlier layers.
    let made = |(_, node): (_, &Node)| node.outputs.iter().flatten().copied().find(|id| outputs.contains(id));
    named.copied().or_else(|| graph.nodes().rev().find_map(made))
}

fn is_norm(op: &OpName) -> bool {
    op.is_refit("LayerNorm") || op.is("LayerNormalization")
}

fn norms(graph: &Graph) -> impl Iterator<Item = ValueId> {
    graph.nodes().rev().filter(|(_, node)| is_norm(&node.op)).filter_map(|(_, node)| node.output(0))
}

fn hidden_norm(graph: &Graph) -> Option<ValueId> {
    norms(graph).next().filter(|id| is_hidden(graph, *id))
}

/// From the outputs back through what only scales, bends or reshapes.
fn before_last_linear(graph: &Graph) -> Option<ValueId> {
    const PASSED: [&str; 14] = [
        "Softmax",
        "LogSoftmax",
        "Sigmoid",
        "Tanh",
        "Relu",
        "Add",
        "Mul",
        "Div",
        "Clip",
        "Identity",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Cast",
    ];
    let producers = graph.producers();
    graph.outputs().iter().find_map(|output| {
        let mut value = *output;
        loop {
            let node = graph.node(producers[value.index()]?);
            let next = node.input(0)?;
            if node.op.is_refit("Linear") || node.op.is("Gemm") || node.op.is("MatMul") {
                return place(graph, next, String::new()).map(|_| next);
            }
            if !PASSED.iter().any(|op| node.op.is(op)) {
                return None;
            }
            value = next;
        }
    })
}

fn quoted(graph: &Graph, id: ValueId) -> String {
    format!("\"{}\"", graph.value(id).name)
}

fn list(graph: &Graph) -> String {
    let outputs: Vec<String> =
        graph.outputs().iter().map(|id| format!("{} {}", quoted(graph, *id), graph.fact(*id))).collect();
    outputs.join(", ")
}
