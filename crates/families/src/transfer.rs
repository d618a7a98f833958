use crate::FamilyError;
use bytes::Bytes;
use refit_graph::{Graph, HostTensor, Model, ValueId, onnx};
use refit_passes::{PassError, canonicalize, edit::parameters};
use std::collections::HashMap;

/// The canonical form of a file that refit exported. Its parameters stay what they are, under their names: what
/// follows from parameters alone (projections of a table of distances) is not folded into new constants.
///
/// # Errors
/// When the bytes are no ONNX model, or break a rule of the standard.
pub fn read_exported(bytes: Bytes) -> Result<Model, FamilyError> {
    let mut model = onnx::read(bytes, &onnx::NoExternalData)?;
    for id in parameters(&model.graph) {
        model.graph.set_trainable(id, true);
    }
    canonicalize(&mut model)
        .map_err(|source: PassError| FamilyError::Exported { source: Box::new(source) })?;
    Ok(model)
}

/// Copies the parameters of `from` (an artifact's model, say) into those of the same name in `to`, which
/// keeps what its own form has and exports lose: dropout points, trainability. A linear weight that the
/// two hold in different layouts (`[inputs, outputs]` and `[outputs, inputs]`) is transposed.
///
/// Parameters of `from` that `to` does not have (a head of its own) are left out. Returns the names that
/// were copied.
///
/// # Errors
/// When `to` has a parameter that `from` lacks, or shapes do not fit; nothing is changed then.
pub fn copy_parameters(from: &Model, to: &mut Model) -> Result<Vec<String>, FamilyError> {
    let source: HashMap<&str, (ValueId, &HostTensor)> = from
        .graph
        .initializers()
        .map(|(id, initializer)| (from.graph.value(id).name.as_str(), (id, &initializer.tensor)))
        .collect();
    let mut problems = Vec::new();
    let mut copies = Vec::new();
    for id in parameters(&to.graph) {
        let name = &to.graph.value(id).name;
        let Some(target) = to.graph.initializer(id) else { continue };
        let Some((source_id, tensor)) = source.get(name.as_str()) else {
            problems.push(format!("\"{name}\" is missing"));
            continue;
        };
        let flip = match (layout(&from.graph, *source_id), layout(&to.graph, id)) {
            (Some(source), Some(target)) => source != target,
            _ => false,
        };
        let tensor = if flip { transposed(tensor) } else { Some((*tensor).clone()) };
        match tensor.filter(|t| t.shape() == target.tensor.shape() && t.dtype() == target.tensor.dtype()) {
            Some(tensor) => copies.push((id, name.clone(), tensor)),
            None => problems.push(format!("\"{name}\" is of another shape or type")),
        }
    }
    if !problems.is_empty() {
        return Err(FamilyError::Transfer { what: problems.join(", ") });
    }
    let mut names = Vec::with_capacity(copies.len());
    for (id, name, tensor) in copies {
        to.graph.set_initializer(id, tensor)?;
        names.push(name);
    }
    Ok(names)
}

#[derive(PartialEq)]
enum Layout {
    InputsFirst,
    OutputsFirst,
}

/// How a linear layer of the graph reads this weight; `None` when none does.
fn layout(graph: &Graph, weight: ValueId) -> Option<Layout> {
    graph.nodes().find_map(|(_, node)| {
        if node.input(1) != Some(weight) {
            return None;
        }
        let linear = node.op.is_refit("Linear") || node.op.is("Gemm");
        match (linear, node.op.is("MatMul")) {
            (true, _) if node.int("transB") == Some(1) => Some(Layout::OutputsFirst),
            (true, _) | (_, true) => Some(Layout::InputsFirst),
            _ => None,
        }
    })
}

fn transposed(tensor: &HostTensor) -> Option<HostTensor> {
    let &[rows, columns] = tensor.shape() else { return None };
    let values = tensor.to_f32()?;
    let flipped: Vec<f32> = (0..columns)
        .flat_map(|column| (0..rows).map(move |row| (row, column)))
        .map(|(row, column)| values[row * columns + column])
        .collect();
    Some(HostTensor::from_f32(&[columns, rows], &flipped))
}
