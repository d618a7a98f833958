//! An ONNX file made elsewhere as base.
//!
//! ```text
//! ids ----> [ encoder as exported ] -> hidden     =>    input_ids -> [ canonical encoder ] -> last_hidden_state
//! mask ->                           -> whatever         attention_mask ->
//! ```
//!
//! What the file calls its inputs is found out and normalised ([`inputs`]), axes that it fixed are freed
//! ([`loosen`]), the place for a head is the one that is named or is found ([`place`]), everything that it does
//! not need goes, and weights that the exporter renamed get a name that says where they are ([`names`]).

mod inputs;
mod loosen;
mod names;
mod padding;
mod place;

use crate::{Base, FamilyError, HIDDEN_STATE, Pooling, mapped, settings};
use inputs::Inputs;
use place::Place;
use refit_graph::{Graph, Model, Patch, ValueId, onnx};
use refit_passes::{canonicalize, edit, lower};
use std::{collections::BTreeSet, path::Path};

/// Longest text, in tokens, of an encoder whose position table was not found.
const DEFAULT_LENGTH: usize = 512;

/// A file as base, and why it is not one of texts, if it is not.
pub(crate) struct Opened {
    pub(crate) base: Base,
    pub(crate) not_text: Option<String>,
}

/// Reads the graph of a file as it is.
pub(crate) fn read(path: &Path) -> Result<Model, FamilyError> {
    let bytes = mapped::map(path)?;
    onnx::read(bytes, &mapped::Folder::of(path))
        .map_err(|source| FamilyError::Onnx { path: path.to_owned(), source })
}

/// Loads a text encoder. See [`crate::load_at`].
pub(crate) fn load(path: &Path, at: Option<&str>) -> Result<Base, FamilyError> {
    let opened = open(path, at, true)?;
    match opened.not_text {
        None => Ok(opened.base),
        Some(what) => Err(FamilyError::NotAnEncoder { path: path.to_owned(), what }),
    }
}

/// Loads a file whatever it reads, unless texts are `required`.
pub(crate) fn open(path: &Path, at: Option<&str>, required: bool) -> Result<Opened, FamilyError> {
    let mut model = read(path)?;
    let refuse = |what: String| FamilyError::NotAnEncoder { path: path.to_owned(), what };
    let canonical_failed =
        |source| FamilyError::Canonicalize { path: path.to_owned(), source: Box::new(source) };

    let inputs = inputs::find(&mut model.graph)?;
    if let (Inputs::Other(why), true) = (&inputs, required) {
        return Err(refuse(why.clone()));
    }
    let named = at.map(|at| place::expose(&mut model.graph, at)).transpose().map_err(refuse)?;
    if let Inputs::Text { fixed: Some(sizes), named } = &inputs {
        // Before the axes are free: an exporter may have computed where the mask is read.
        let mask = inputs.mask(&model.graph);
        if let Some(patch) = mask.and_then(|mask| padding::simplify_fixed(&mut model, mask, named, *sizes)) {
            patch.apply(&mut model.graph)?;
        }
        loosen::loosen(&mut model, *sizes).map_err(refuse)?;
    }
    canonicalize(&mut model).map_err(canonical_failed)?;
    // Heads are made of operators in the form that they have there.
    if let Some(moved) = lower::at_portable_opset(&model).map_err(canonical_failed)? {
        model = moved;
    }
    if let Some(mask) = inputs.mask(&model.graph)
        && let Some(patch) = padding::simplify(&model, mask)
    {
        patch.apply(&mut model.graph)?;
        canonicalize(&mut model).map_err(canonical_failed)?;
    }
    // Behind an operator that is not supported no shape is known, so that is what has to be said first.
    let place = place::find(&model.graph, named).map_err(|what| match refit_ops::unsupported(&model) {
        places if places.is_empty() => refuse(what),
        places => FamilyError::Unsupported { path: path.to_owned(), places: places.join(", ") },
    })?;
    let not_text = match &inputs {
        Inputs::Other(why) => Some(why.clone()),
        Inputs::Text { .. } => None,
    };
    keep_encoder(&mut model, &inputs, &place)?;
    name_parameters(&mut model)?;

    let folder = path.parent().unwrap_or(Path::new("."));
    let fixed = match &inputs {
        // What the file was made for is as far as its tables are known to reach.
        Inputs::Text { fixed: Some([_, sequence]), .. } if *sequence > 0 => Some(*sequence),
        _ => None,
    };
    let positions = fixed.or(position_rows(&model.graph)).unwrap_or(DEFAULT_LENGTH);
    let pooling = match place.is_pooled {
        true => Pooling::None,
        false => settings::pooling(folder)?.unwrap_or(Pooling::Mean),
    };
    let base = Base {
        tokenizer: settings::tokenizer(folder),
        hidden_size: place.size,
        num_layers: edit::num_layers(&model.graph),
        pooling,
        max_length: settings::max_length(folder)?.map_or(positions, |length| length.min(positions)),
        family: "onnx".to_owned(),
        ignored_settings: Vec::new(),
        ignored_weights: Vec::new(),
        module_prefix: String::new(),
        cut: place.name,
        model,
    };
    Ok(Opened { base, not_text })
}

/// Makes the hidden state the only output and drops the inputs that it does not need.
fn keep_encoder(model: &mut Model, inputs: &Inputs, place: &Place) -> Result<(), FamilyError> {
    let mut patch = Patch::new(&model.graph);
    patch.set_outputs(vec![place.value]);
    patch.apply(&mut model.graph)?;

    let consumers = model.graph.consumers();
    let mut patch = Patch::new(&model.graph);
    for id in model.graph.inputs() {
        if consumers[id.index()].is_empty() && *id != place.value {
            patch.remove_input(*id);
        } else if let Some(name) = inputs.name_of(*id) {
            rename(&model.graph, &mut patch, *id, name);
        }
    }
    rename(&model.graph, &mut patch, place.value, HIDDEN_STATE);
    patch.apply(&mut model.graph)?;
    Ok(())
}

/// Gives a value a name that another one may have.
fn rename(graph: &Graph, patch: &mut Patch, id: ValueId, name: &str) {
    if let Some(other) = graph.find(name).filter(|other| *other != id) {
        patch.rename(other, &format!("base.{name}"));
    }
    patch.rename(id, name);
}

/// Names that heads, losses and adapters give to values.
const RESERVED: [&str; 5] = ["embedding", "labels", "logits", "loss", "probabilities"];

/// Gives weights that say nothing of their layer names that do, and marks all as trainable.
fn name_parameters(model: &mut Model) -> Result<(), FamilyError> {
    let mut patch = Patch::new(&model.graph);
    for (id, name) in names::of_anonymous_weights(&model.graph) {
        patch.rename(id, &name);
    }
    for name in RESERVED {
        if let Some(id) = model.graph.find(name) {
            patch.rename(id, &format!("base.{name}"));
        }
    }
    for id in edit::parameters(&model.graph) {
        patch.set_trainable(id, true);
    }
    patch.apply(&mut model.graph)?;
    Ok(())
}

fn last_dimension(graph: &Graph, id: ValueId) -> Option<usize> {
    graph.fact(id).shape.as_ref()?.last()?.known()
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
