use crate::PassError;
use refit_graph::{DType, Dim, Fact, Model, Patch, ValueId};

/// The model with further outputs: values of its inside, by their names, for whoever wants to look at them.
///
/// # Errors
/// When there is no value of such a name.
pub fn with_outputs(model: &Model, names: &[String]) -> Result<Model, PassError> {
    let mut shown = model.clone();
    let mut outputs: Vec<ValueId> = shown.graph.outputs().to_vec();
    for name in names {
        let id = shown
            .graph
            .find(name)
            .ok_or_else(|| PassError::refused(format!("the graph has no value \"{name}\" to show")))?;
        if !outputs.contains(&id) && !shown.graph.inputs().contains(&id) {
            outputs.push(id);
        }
    }
    let mut patch = Patch::new(&shown.graph);
    patch.set_outputs(outputs.clone());
    patch.apply(&mut shown.graph)?;
    refit_ops::infer_facts(&mut shown)?;
    for id in outputs {
        // A file has to say what its outputs are, if only that they are floats.
        let fact = shown.graph.fact(id);
        if fact.dtype.is_none() {
            let shape: Option<Vec<Dim>> = fact.shape.clone();
            shown.graph.set_fact(id, Fact { dtype: Some(DType::F32), shape, elements: None });
        }
    }
    Ok(shown)
}
