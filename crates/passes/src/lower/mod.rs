//! Lowering: canonical operators become operators that inference engines know.

mod attention;
mod gelu;
mod linear;
mod pieces;
mod version;

pub(crate) use linear::transpose;

use crate::{PassError, rewrite::Rewrite};
use refit_graph::{Fact, Model, Node, NodeId, OpName, Patch, ValueId, verify};

/// The opset of portable files.
pub const PORTABLE_OPSET: i64 = 17;

/// A model that computes the same with operators of the standard at [`PORTABLE_OPSET`] only, weights
/// of linear layers stored as `[K, N]`, dropout and loss gone. It is what tract and ONNX Runtime load.
///
/// Outputs and weights keep their names. What the file of origin carried beside its graph is left out.
///
/// # Errors
/// When an operator has no equivalent in the standard; it is named with its place.
pub fn portable(model: &Model) -> Result<Model, PassError> {
    lower(model).map_err(|error| error.in_pass("lower-portable"))
}

/// The model with its standard operators in the form that they have at [`PORTABLE_OPSET`], so that edits can add
/// nodes of that form; everything else stays as it is. `None` when one has no such form.
///
/// # Errors
/// When the model is broken.
pub fn at_portable_opset(model: &Model) -> Result<Option<Model>, PassError> {
    let mut moved = model.clone();
    refit_ops::infer_facts(&mut moved)?;
    let mut rewrite = Rewrite::new(&moved);
    for (_, node) in moved.graph.nodes() {
        if node.op.domain.is_empty() && version::lower(&mut rewrite, node).is_none() {
            return Ok(None);
        }
    }
    let patch = rewrite.patch;
    let mut graph = moved.graph.clone();
    patch.apply(&mut graph)?;
    moved.graph = graph;
    moved.opsets.insert(String::new(), PORTABLE_OPSET);
    verify(&moved, "at-portable-opset")?;
    refit_ops::infer_facts(&mut moved)?;
    Ok(Some(moved))
}

fn lower(model: &Model) -> Result<Model, PassError> {
    let mut lowered = Model::new(model.graph.clone(), model.opset());
    lowered.metadata = model.metadata.clone();
    without_loss(&mut lowered)?;
    refit_ops::infer_facts(&mut lowered)?;
    let patch = lowering_patch(&lowered)?;
    patch.apply(&mut lowered.graph)?;
    lowered.graph.compact();
    lowered.opsets.insert(String::new(), PORTABLE_OPSET);
    lowered.graph.forget_file();
    lowered.graph.name_nodes_after_outputs();
    let constants: Vec<ValueId> = lowered.graph.initializers().map(|(id, _)| id).collect();
    for id in constants {
        lowered.graph.set_trainable(id, false);
    }
    verify(&lowered, "lower-portable")?;
    refit_ops::infer_facts(&mut lowered)?;
    forget_facts(&mut lowered);
    Ok(lowered)
}

/// The loss is for training only: its outputs go, and the inputs that nothing else reads.
fn without_loss(model: &mut Model) -> Result<(), PassError> {
    let producers = model.graph.producers();
    let is_loss = |id: &ValueId| {
        producers[id.index()].is_some_and(|node| model.graph.node(node).op.is_refit("SoftmaxCrossEntropy"))
    };
    let (losses, outputs): (Vec<ValueId>, Vec<ValueId>) =
        model.graph.outputs().iter().partition(|id| is_loss(id));
    if losses.is_empty() {
        return Ok(());
    }
    let read_before = model.graph.consumers();
    let mut patch = Patch::new(&model.graph);
    patch.set_outputs(outputs);
    patch.apply(&mut model.graph)?;
    let read_after = model.graph.consumers();
    let mut patch = Patch::new(&model.graph);
    for input in model.graph.inputs() {
        if !read_before[input.index()].is_empty() && read_after[input.index()].is_empty() {
            patch.remove_input(*input);
        }
    }
    patch.apply(&mut model.graph)?;
    Ok(())
}

fn lowering_patch(model: &Model) -> Result<Patch, PassError> {
    let mut rewrite = Rewrite::new(model);
    for (id, node) in model.graph.nodes() {
        let lowered = match (node.op.domain.as_str(), node.op.name.as_str()) {
            ("refit", "Linear") => linear::lower(&mut rewrite, node),
            ("refit", "LayerNorm") => layer_norm(&mut rewrite, node),
            ("refit" | "", "Gelu") => gelu::lower(&mut rewrite, node),
            ("refit", "Attention") => attention::lower(&mut rewrite, node),
            ("refit" | "", "Dropout") => dropout(&mut rewrite, node),
            ("refit", "RmsNorm") => pieces::rms_norm(&mut rewrite, node),
            ("refit", "Rotary") => pieces::rotary(&mut rewrite, node),
            ("refit", "Silu") => pieces::silu(&mut rewrite, node),
            ("refit", "BatchNorm") => batch_norm(&mut rewrite, node),
            ("", _) => version::lower(&mut rewrite, node),
            _ => None,
        };
        if lowered.is_none() {
            return Err(not_portable(model, id));
        }
    }
    Ok(rewrite.patch)
}

fn not_portable(model: &Model, id: NodeId) -> PassError {
    PassError::NotPortable { place: model.graph.describe(id) }
}

/// `refit.LayerNorm` -> `LayerNormalization`.
fn layer_norm(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let inputs: Vec<ValueId> = (0..3).filter_map(|index| node.input(index)).collect();
    let epsilon = node.attributes.get("epsilon").cloned();
    let axis = refit_graph::Attribute::Int(-1);
    let attributes = [("axis", axis)].into_iter().chain(epsilon.map(|epsilon| ("epsilon", epsilon)));
    let y = rewrite.node(OpName::standard("LayerNormalization"), &node.name, &inputs, attributes);
    rewrite.replace(node.output(0)?, y);
    Some(())
}

/// `refit.BatchNorm` -> `BatchNormalization` by the running statistics.
fn batch_norm(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    if node.outputs.iter().skip(1).flatten().any(|statistic| !rewrite.unread(*statistic)) {
        return None;
    }
    let mut new = Node { op: OpName::standard("BatchNormalization"), ..node.clone() };
    new.outputs.truncate(1);
    rewrite.replace_node(node, new)
}

/// Dropout does nothing outside of training.
fn dropout(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    if node.output(1).is_some_and(|mask| !rewrite.unread(mask)) {
        return None;
    }
    let x = rewrite.current(node.input(0)?);
    rewrite.replace(node.output(0)?, x);
    Some(())
}

/// Leaves no descriptions but those of inputs and outputs, the latter as `like` has them: an edit of a lowered model may
/// add operators of an engine's own, whose shapes cannot be inferred here, and a file must say what its outputs are.
pub fn describe_ports(model: &mut Model, like: &Model) {
    forget_facts(model);
    for id in model.graph.outputs().to_vec() {
        if let Some(known) = like.graph.find(&model.graph.value(id).name) {
            model.graph.set_fact(id, like.graph.fact(known).clone());
        }
    }
}

/// Engines infer shapes by themselves; only inputs and outputs are described.
fn forget_facts(model: &mut Model) {
    let made: Vec<ValueId> =
        model.graph.nodes().flat_map(|(_, node)| node.outputs.clone()).flatten().collect();
    for id in made {
        if !model.graph.outputs().contains(&id) {
            model.graph.set_fact(id, Fact::default());
        }
    }
}
