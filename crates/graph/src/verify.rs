use crate::{Graph, GraphError, Model, Node, NodeId, ValueId};
use std::collections::HashSet;

/// Checks that a model is well formed: names are unique, every value has one definition, every read
/// is of something defined before, outputs are defined, constants agree with their facts, and only
/// floats are trainable. `phase` names in the error what was done last.
///
/// # Errors
/// The first broken rule, with the phase after which it was found.
pub fn verify(model: &Model, phase: &str) -> Result<(), GraphError> {
    let checked = verify_graph(&model.graph, &HashSet::new());
    checked.map_err(|what| GraphError::Verify { phase: phase.to_owned(), what })
}

fn verify_graph(graph: &Graph, outer: &HashSet<&str>) -> Result<(), String> {
    ids_in_range(graph)?;
    let mut defined = defined_without_nodes(graph, outer)?;
    for (id, node) in graph.nodes() {
        verify_node(graph, id, node, &defined, outer)?;
        for output in node.outputs.iter().flatten() {
            if !defined.insert(*output) {
                return Err(format!("{} defines a second time {}", graph.describe(id), name(graph, *output)));
            }
        }
    }
    for output in &graph.outputs {
        if !defined.contains(output) {
            return Err(format!("the output {} is not defined", name(graph, *output)));
        }
    }
    unique_names(graph, &defined)?;
    constants(graph)
}

fn name(graph: &Graph, id: ValueId) -> String {
    format!("\"{}\"", graph.value(id).name)
}

fn ids_in_range(graph: &Graph) -> Result<(), String> {
    let of_nodes = graph.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs)).flatten();
    let others = graph.inputs.iter().chain(&graph.outputs).chain(&graph.captures);
    match of_nodes.chain(others).chain(graph.initializers.keys()).find(|id| id.index() >= graph.values.len())
    {
        Some(id) => Err(format!("value {} does not exist", id.index())),
        None => Ok(()),
    }
}

/// Inputs, constants and captures.
fn defined_without_nodes(graph: &Graph, outer: &HashSet<&str>) -> Result<HashSet<ValueId>, String> {
    let mut defined = HashSet::new();
    for capture in &graph.captures {
        if !outer.contains(graph.value(*capture).name.as_str()) {
            return Err(format!(
                "an inner graph reads {}, which is not defined there",
                name(graph, *capture)
            ));
        }
    }
    let constants = graph.initializers.keys().copied().chain(graph.carried.sparse_values());
    for id in graph.inputs.iter().chain(&graph.captures).copied().chain(constants) {
        if !defined.insert(id) {
            return Err(format!("{} is defined twice", name(graph, id)));
        }
    }
    Ok(defined)
}

fn verify_node(
    graph: &Graph,
    id: NodeId,
    node: &Node,
    defined: &HashSet<ValueId>,
    outer: &HashSet<&str>,
) -> Result<(), String> {
    if node.op.name.is_empty() {
        return Err(format!("{} names no operator", graph.describe(id)));
    }
    for input in node.inputs.iter().flatten() {
        if !defined.contains(input) {
            let input = name(graph, *input);
            return Err(format!("{} reads {input}, which is not defined before it", graph.describe(id)));
        }
    }
    if node.inner_graphs().next().is_none() {
        return Ok(());
    }
    let mut visible = outer.clone();
    visible.extend(defined.iter().map(|id| graph.value(*id).name.as_str()));
    for inner in node.inner_graphs() {
        verify_graph(inner, &visible).map_err(|what| format!("in {}: {what}", graph.describe(id)))?;
    }
    Ok(())
}

/// Values that are gone may keep their names until they are forgotten; those that are there may not
/// share one.
fn unique_names(graph: &Graph, defined: &HashSet<ValueId>) -> Result<(), String> {
    let mut names = HashSet::new();
    for id in defined {
        let name = graph.value(*id).name.as_str();
        if name.is_empty() {
            return Err(format!("value {} has no name", id.index()));
        }
        if !names.insert(name) {
            return Err(format!("two values are named \"{name}\""));
        }
    }
    Ok(())
}

fn constants(graph: &Graph) -> Result<(), String> {
    for (id, initializer) in graph.initializers() {
        let (fact, tensor) = (graph.fact(id), &initializer.tensor);
        let name = name(graph, id);
        if fact.dtype.is_some_and(|dtype| dtype != tensor.dtype()) {
            return Err(format!("the constant {name} is {}, but its fact says {fact}", tensor.dtype()));
        }
        let fits = fact.shape.as_ref().is_none_or(|shape| {
            shape.len() == tensor.shape().len()
                && shape
                    .iter()
                    .zip(tensor.shape())
                    .all(|(dim, size)| dim.known().is_none_or(|dim| dim == *size))
        });
        if !fits {
            return Err(format!(
                "the constant {name} has shape {:?}, but its fact says {fact}",
                tensor.shape()
            ));
        }
        if initializer.trainable && !tensor.dtype().is_float() {
            return Err(format!("the constant {name} is {}, which cannot be trained", tensor.dtype()));
        }
    }
    Ok(())
}
