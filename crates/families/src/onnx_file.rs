//! An ONNX text encoder made elsewhere as base.
//!
//! ```text
//! ids ----> [ encoder as exported ] -> hidden     =>    input_ids -> [ canonical encoder ] -> last_hidden_state
//! mask ->                           -> whatever         attention_mask ->
//! ```
//!
//! What the file calls its inputs and its hidden state is found out and normalised, everything that the
//! hidden state does not need goes, and weights that the exporter renamed get a name that says where
//! they are ([`names`]).

mod names;

use crate::{Base, FamilyError, HIDDEN_STATE, Pooling, mapped, settings};
use refit_graph::{DType, Dim, Fact, Graph, Model, Patch, ValueId, onnx};
use refit_passes::{canonicalize, edit};
use std::{collections::BTreeSet, path::Path};

/// What exporters call the inputs of a text encoder; the first name of each list is ours.
const INPUTS: [&[&str]; 3] = [
    &["input_ids", "ids", "input", "tokens", "input_word_ids", "input.1"],
    &["attention_mask", "mask", "input_mask", "attention_masks"],
    &["token_type_ids", "segment_ids", "type_ids", "input_type_ids"],
];

/// Longest text, in tokens, of an encoder whose position table was not found.
const DEFAULT_LENGTH: usize = 512;

/// Loads an `.onnx` file. See [`crate::load`].
pub(crate) fn load(path: &Path) -> Result<Base, FamilyError> {
    let bytes = mapped::map(path)?;
    let mut model = onnx::read(bytes, &mapped::Folder::of(path))
        .map_err(|source| FamilyError::Onnx { path: path.to_owned(), source })?;
    let refuse = |what: String| FamilyError::NotAnEncoder { path: path.to_owned(), what };

    let inputs = find_inputs(&mut model.graph).map_err(refuse)?;
    canonicalize(&mut model)
        .map_err(|source| FamilyError::Canonicalize { path: path.to_owned(), source: Box::new(source) })?;
    // Behind an operator that is not supported no shape is known, so that is what has to be said first.
    let hidden = find_hidden_state(&model.graph).map_err(|what| match refit_ops::unsupported(&model) {
        places if places.is_empty() => refuse(what),
        places => FamilyError::Unsupported { path: path.to_owned(), places: places.join(", ") },
    })?;
    let hidden_size = last_dimension(&model.graph, hidden)
        .ok_or_else(|| refuse("the length of its hidden vectors is not fixed".to_owned()))?;
    keep_encoder(&mut model, &inputs, hidden)?;

    let renamed = names::of_anonymous_weights(&model.graph);
    let mut patch = Patch::new(&model.graph);
    for (id, name) in renamed {
        patch.rename(id, &name);
    }
    for id in edit::parameters(&model.graph) {
        patch.set_trainable(id, true);
    }
    patch.apply(&mut model.graph)?;

    let folder = path.parent().unwrap_or(Path::new("."));
    let positions = position_rows(&model.graph).unwrap_or(DEFAULT_LENGTH);
    Ok(Base {
        tokenizer: settings::tokenizer(folder),
        hidden_size,
        num_layers: edit::num_layers(&model.graph),
        pooling: settings::pooling(folder)?.unwrap_or(Pooling::Mean),
        max_length: settings::max_length(folder)?.map_or(positions, |length| length.min(positions)),
        family: "onnx".to_owned(),
        ignored_settings: Vec::new(),
        model,
    })
}

/// The graph's inputs with the names that they are to have. Their axes are named on the way.
fn find_inputs(graph: &mut Graph) -> Result<Vec<(ValueId, &'static str)>, String> {
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for id in graph.inputs().to_vec() {
        let name = graph.value(id).name.clone();
        let Some(aliases) = INPUTS.iter().find(|aliases| aliases.contains(&name.as_str())) else {
            unknown.push(format!("\"{name}\""));
            continue;
        };
        let fact = graph.fact(id);
        let fixed = fact.shape.iter().flatten().any(|dim| dim.known().is_some());
        if fixed || fact.rank().is_some_and(|rank| rank != 2) {
            return Err(format!(
                "its input \"{name}\" is {fact}; export it again with dynamic axes [batch, sequence]"
            ));
        }
        if fact.dtype != Some(DType::I64) {
            return Err(format!("its input \"{name}\" is {fact}; token ids must be int64"));
        }
        graph.set_fact(id, Fact::new(DType::I64, [Dim::from("batch"), Dim::from("sequence")]));
        found.push((id, aliases[0]));
    }
    if !unknown.is_empty() {
        return Err(format!(
            "its inputs {} are not known; those of a text encoder are {}",
            unknown.join(", "),
            INPUTS.map(|aliases| aliases[0]).join(", ")
        ));
    }
    for aliases in &INPUTS[..2] {
        if !found.iter().any(|(_, name)| name == &aliases[0]) {
            return Err(format!("it has no input \"{}\"", aliases[0]));
        }
    }
    Ok(found)
}

/// The encoder's result: an output of shape `[batch, sequence, hidden]`, or, in a file that ends in a
/// head, the last normalised value of that shape.
fn find_hidden_state(graph: &Graph) -> Result<ValueId, String> {
    let is_hidden = |id: &ValueId| {
        let fact = graph.fact(*id);
        fact.rank() == Some(3)
            && fact.dtype.is_none_or(DType::is_float)
            && last_dimension(graph, *id).is_some()
    };
    let outputs: Vec<ValueId> = graph.outputs().iter().copied().filter(is_hidden).collect();
    if let Some(named) = outputs.iter().find(|id| graph.value(**id).name == HIDDEN_STATE) {
        return Ok(*named);
    }
    // Of several the one that is made last: exporters also give the states of earlier layers.
    let last = graph
        .nodes()
        .rev()
        .find_map(|(_, node)| node.outputs.iter().flatten().copied().find(|output| outputs.contains(output)));
    let normed = || {
        let layer_norm = |op: &refit_graph::OpName| op.is_refit("LayerNorm") || op.is("LayerNormalization");
        graph.nodes().rev().filter(|(_, node)| layer_norm(&node.op)).find_map(|(_, node)| node.output(0))
    };
    last.or_else(|| normed().filter(is_hidden)).ok_or_else(|| {
        let list: Vec<String> = graph
            .outputs()
            .iter()
            .map(|id| format!("\"{}\" {}", graph.value(*id).name, graph.fact(*id)))
            .collect();
        format!("none of its outputs ({}) is of shape [batch, sequence, hidden]", list.join(", "))
    })
}

fn last_dimension(graph: &Graph, id: ValueId) -> Option<usize> {
    graph.fact(id).shape.as_ref()?.last()?.known()
}

/// Makes the hidden state the only output and drops the inputs that it does not need.
fn keep_encoder(
    model: &mut Model,
    inputs: &[(ValueId, &'static str)],
    hidden: ValueId,
) -> Result<(), FamilyError> {
    let mut patch = Patch::new(&model.graph);
    patch.set_outputs(vec![hidden]);
    patch.apply(&mut model.graph)?;

    let consumers = model.graph.consumers();
    let mut patch = Patch::new(&model.graph);
    for (id, name) in inputs {
        if consumers[id.index()].is_empty() {
            patch.remove_input(*id);
        } else {
            patch.rename(*id, name);
        }
    }
    patch.rename(hidden, HIDDEN_STATE);
    patch.apply(&mut model.graph)?;
    Ok(())
}

/// Rows of the smallest table whose name speaks of positions.
fn position_rows(graph: &Graph) -> Option<usize> {
    let parameters: BTreeSet<ValueId> = edit::parameters(graph).into_iter().collect();
    graph
        .initializers()
        .filter(|(id, initializer)| parameters.contains(id) && initializer.tensor.shape().len() == 2)
        .filter(|(id, _)| graph.value(*id).name.contains("position"))
        .map(|(_, initializer)| initializer.tensor.shape()[0])
        .min()
}
