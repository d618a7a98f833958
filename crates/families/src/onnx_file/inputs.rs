//! What a file made elsewhere reads: token ids, mask and types under one name or another, or something else.

use crate::FamilyError;
use refit_graph::{Attribute, DType, Dim, Fact, Graph, OpName, Patch, ValueId};

/// What exporters call the inputs of a text encoder; the first name of each list is ours.
const NAMES: [&[&str]; 3] = [
    &["input_ids", "ids", "input", "tokens", "input_word_ids", "input.1"],
    &["attention_mask", "mask", "input_mask", "attention_masks"],
    &["token_type_ids", "segment_ids", "type_ids", "input_type_ids"],
];

/// The inputs of a file.
pub(super) enum Inputs {
    /// Of a text encoder: int64 `[batch, sequence]`, with the names that they are to have.
    Text {
        named: Vec<(ValueId, &'static str)>,
        /// Batch and sequence, where the file fixes them.
        fixed: Option<[usize; 2]>,
    },
    /// Others, with why they are not those of a text encoder.
    Other(String),
}

impl Inputs {
    /// The attention mask of a text encoder.
    pub(super) fn mask(&self, graph: &Graph) -> Option<ValueId> {
        let is_mask = |id: &ValueId| self.name_of(*id) == Some(NAMES[1][0]);
        graph.inputs().iter().copied().find(is_mask)
    }

    /// The name that an input is to have.
    pub(super) fn name_of(&self, id: ValueId) -> Option<&'static str> {
        match self {
            Self::Text { named, .. } => named.iter().find(|(input, _)| *input == id).map(|(_, name)| *name),
            Self::Other(_) => None,
        }
    }
}

/// Finds out what the inputs are. Those of a text encoder become int64 with named axes.
pub(super) fn find(graph: &mut Graph) -> Result<Inputs, FamilyError> {
    let mut found = Vec::new();
    let mut fixed = None;
    let mut strangers = Vec::new();
    for id in graph.inputs().to_vec() {
        match text_input(graph, id) {
            Ok((name, sizes)) => {
                found.push((id, name));
                fixed = fixed.or(sizes);
            }
            Err(why) => strangers.push(why),
        }
    }
    if !strangers.is_empty() {
        let expected = NAMES.map(|aliases| aliases[0]).join(", ");
        return Ok(Inputs::Other(format!(
            "{}; the inputs of a text encoder are {expected}",
            strangers.join("; ")
        )));
    }
    for aliases in &NAMES[..2] {
        if !found.iter().any(|(_, name)| *name == aliases[0]) {
            return Ok(Inputs::Other(format!("it has no input \"{}\"", aliases[0])));
        }
    }
    let named = widen(graph, found)?;
    Ok(Inputs::Text { named, fixed })
}

/// Our name for an input, and its sizes if they are fixed; else what it is instead.
fn text_input(graph: &Graph, id: ValueId) -> Result<(&'static str, Option<[usize; 2]>), String> {
    let name = &graph.value(id).name;
    let fact = graph.fact(id);
    let plain = name.strip_suffix(":0").unwrap_or(name);
    let plain = plain.strip_prefix("serving_default_").unwrap_or(plain);
    let Some(aliases) = NAMES.iter().find(|aliases| aliases.contains(&plain)) else {
        return Err(format!("its input \"{name}\" ({fact}) is not known"));
    };
    if !matches!(fact.dtype, None | Some(DType::I64 | DType::I32)) {
        return Err(format!("its input \"{name}\" is {fact}; token ids must be int64 or int32"));
    }
    match fact.shape.as_deref() {
        None => Ok((aliases[0], None)),
        Some([batch, sequence]) => match (batch.known(), sequence.known()) {
            (None, None) => Ok((aliases[0], None)),
            (batch, Some(sequence)) => Ok((aliases[0], Some([batch.unwrap_or(1), sequence]))),
            // A batch of a fixed size alone.
            (Some(batch), None) => Ok((aliases[0], Some([batch, 0]))),
        },
        Some(_) => Err(format!("its input \"{name}\" is {fact} instead of [batch, sequence]")),
    }
}

/// int64 for all of them, with named axes: what reads int32 gets it through a cast.
fn widen(
    graph: &mut Graph,
    found: Vec<(ValueId, &'static str)>,
) -> Result<Vec<(ValueId, &'static str)>, FamilyError> {
    let ids = || Fact::new(DType::I64, [Dim::from("batch"), Dim::from("sequence")]);
    let mut named = Vec::new();
    let mut patch = Patch::new(graph);
    for (id, name) in found {
        if graph.fact(id).dtype == Some(DType::I32) {
            let wide = patch.input(&format!("{name}.int64"), ids());
            let to = [("to", Attribute::Int(DType::I32.to_onnx().into()))];
            let narrow = patch.node(OpName::standard("Cast"), &format!("{name}.int32"), &[wide], to);
            patch.replace(id, narrow);
            patch.remove_input(id);
            named.push((wide, name));
        } else {
            named.push((id, name));
        }
    }
    patch.apply(graph)?;
    for (id, _) in &named {
        graph.set_fact(*id, ids());
    }
    Ok(named)
}
