use crate::{Known, OpError, Site, evaluate, find};
use refit_graph::{DType, Dim, Fact, HostTensor, Model, NodeId, STANDARD_DOMAIN, ValueId};
use std::collections::HashMap;

/// Constants up to this many elements are folded while facts are inferred: enough for every shape.
const MAX_FOLDED_ELEMENTS: usize = 64;

/// Fills in the facts of every value that can be known before a run. Facts of graph inputs and
/// initializers are taken as they are; values of unknown operators stay unknown.
///
/// # Errors
/// When a node could not succeed in any run, with its place.
pub fn infer_facts(model: &mut Model) -> Result<(), OpError> {
    let mut folded: HashMap<ValueId, HostTensor> = HashMap::new();
    let ids: Vec<NodeId> = model.graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        let node = model.graph.node(id).clone();
        let opset = opset_of(model, &node.op.domain);
        let Some(operator) = find(&node.op, opset) else { continue };
        let constants: Vec<Option<&HostTensor>> = node
            .inputs
            .iter()
            .map(|input| {
                let input = (*input)?;
                folded.get(&input).or_else(|| model.graph.initializer(input).map(|i| &i.tensor))
            })
            .collect();
        let known = Known {
            facts: node.inputs.iter().map(|input| input.map(|id| model.graph.fact(id))).collect(),
            constants: constants.clone(),
        };
        let site = Site::new(&node, opset);
        let mut facts = operator.infer(&site, &known).map_err(|e| e.at(model.graph.describe(id)))?;
        let values = fold(&site, &known, &facts);
        for (position, output) in node.outputs.iter().enumerate() {
            let Some(output) = *output else { continue };
            let mut fact = facts.get_mut(position).map(std::mem::take).unwrap_or_default();
            let value = values.as_ref().and_then(|values| values.get(position)).cloned();
            if let Some(tensor) = value.or_else(|| constant_of(&fact)) {
                fact.elements = fact.elements.or_else(|| elements_of(&tensor));
                folded.insert(output, tensor);
            }
            model.graph.set_fact(output, fact);
        }
    }
    Ok(())
}

/// Every node whose operator is not in [`crate::find`]'s table, named with its place.
pub fn unsupported(model: &Model) -> Vec<String> {
    let graph = &model.graph;
    let unknown =
        graph.nodes().filter(|(_, node)| crate::find(&node.op, opset_of(model, &node.op.domain)).is_none());
    unknown.map(|(id, _)| graph.describe(id)).collect()
}

/// The version of a domain's operator set in a model; refit's own operators have one version.
pub fn opset_of(model: &Model, domain: &str) -> i64 {
    match domain {
        STANDARD_DOMAIN => model.opset(),
        domain => model.opsets.get(domain).copied().unwrap_or(1),
    }
}

/// The outputs of a small integer computation on constants.
fn fold(site: &Site, known: &Known, facts: &[Fact]) -> Option<Vec<HostTensor>> {
    let small = |fact: &Fact| {
        fact.dtype.is_some_and(|dtype| !dtype.is_float())
            && fact
                .concrete_shape()
                .is_some_and(|shape| shape.iter().product::<usize>() <= MAX_FOLDED_ELEMENTS)
    };
    if facts.is_empty() || !facts.iter().all(small) {
        return None;
    }
    let inputs: Vec<Option<HostTensor>> = known
        .facts
        .iter()
        .zip(&known.constants)
        .map(|(fact, constant)| match (fact, constant) {
            (None, _) => Some(None),
            (Some(_), Some(tensor)) if tensor.len() <= MAX_FOLDED_ELEMENTS => Some(Some((*tensor).clone())),
            _ => None,
        })
        .collect::<Option<_>>()?;
    evaluate(site.node, site.opset, &inputs).ok()
}

/// The elements of a small integer constant as dimensions; `None` if one is negative.
pub(crate) fn elements_of(tensor: &HostTensor) -> Option<Vec<Dim>> {
    if tensor.shape().len() > 1 || tensor.dtype().is_float() {
        return None;
    }
    tensor.to_i64()?.into_iter().map(|e| usize::try_from(e).ok().map(Dim::Known)).collect()
}

/// The int64 constant that a fact describes, when every element is a number.
fn constant_of(fact: &Fact) -> Option<HostTensor> {
    let (shape, elements) = (fact.concrete_shape()?, fact.elements.as_ref()?);
    let numbers: Vec<i64> =
        elements.iter().map(|dim| i64::try_from(dim.known()?).ok()).collect::<Option<_>>()?;
    let fits = fact.dtype == Some(DType::I64) && shape.iter().product::<usize>() == numbers.len();
    fits.then(|| HostTensor::from_i64(&shape, &numbers))
}
