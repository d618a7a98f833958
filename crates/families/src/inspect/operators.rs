use refit_graph::{Graph, Model, Node};
use refit_ops::Site;
use std::collections::BTreeMap;

/// One operator of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorSummary {
    /// Domain and name.
    pub name: String,
    /// How many nodes apply it, those in branches and loops included.
    pub nodes: usize,
    /// What can be done with it.
    pub support: Support,
}

/// What can be done with an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It runs, and gradients go through it.
    Full,
    /// It runs; no gradient goes through it where it stands.
    ForwardOnly,
    /// It is not known.
    Missing,
}

/// The operators of a file, judged by those that are left in its canonical form: what a pass replaced is supported.
pub(super) fn summarize(original: &Model, canonical: &Model) -> Vec<OperatorSummary> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    count(&original.graph, &mut counts);
    let mut left: BTreeMap<String, Support> = BTreeMap::new();
    for (_, node) in canonical.graph.nodes() {
        let support = support(canonical, node);
        let worst = left.entry(node.op.to_string()).or_insert(Support::Full);
        if support as u8 > *worst as u8 {
            *worst = support;
        }
    }
    let summary = |(name, nodes): (String, usize)| {
        let support = left.get(&name).copied().unwrap_or(Support::Full);
        OperatorSummary { name, nodes, support }
    };
    counts.into_iter().map(summary).collect()
}

fn count(graph: &Graph, counts: &mut BTreeMap<String, usize>) {
    for (_, node) in graph.nodes() {
        *counts.entry(node.op.to_string()).or_default() += 1;
        for inner in node.inner_graphs() {
            count(inner, counts);
        }
    }
}

fn support(model: &Model, node: &Node) -> Support {
    let opset = refit_ops::opset_of(model, &node.op.domain);
    let Some(operator) = refit_ops::find(&node.op, opset) else { return Support::Missing };
    let wanted: Vec<bool> = node
        .inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let carries = |dtype: refit_graph::DType| dtype.is_float();
            let is_float = input.is_some_and(|id| model.graph.fact(id).dtype.is_some_and(carries));
            is_float && operator.differentiable(index)
        })
        .collect();
    let passes_numbers = node
        .outputs
        .iter()
        .flatten()
        .any(|output| model.graph.fact(*output).dtype.is_none_or(refit_graph::DType::is_float));
    let any_float = node
        .inputs
        .iter()
        .flatten()
        .any(|id| model.graph.fact(*id).dtype.is_some_and(refit_graph::DType::is_float));
    if !passes_numbers || !any_float {
        return Support::Full;
    }
    match wanted.contains(&true) && operator.reads(&Site::new(node, opset), &wanted).is_some() {
        true => Support::Full,
        false => Support::ForwardOnly,
    }
}
