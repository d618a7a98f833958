use super::{finite, scale_of, standard, to_int8};
use crate::PassError;
use refit_graph::{Attribute, DType, Graph, HostTensor, Node, OpName, Patch, ValueId};
use std::collections::HashMap;

/// Table -> its s8 form and the scale `[V, 1]` of its rows.
pub(super) type Tables = HashMap<ValueId, (ValueId, ValueId)>;

/// Replaces the `Gather` of an embedding by one of int8 rows and one of their scales.
pub(super) fn quantize(
    patch: &mut Patch,
    graph: &Graph,
    node: &Node,
    table: ValueId,
    tables: &mut Tables,
) -> Result<(), PassError> {
    let (Some(ids), Some(y)) = (node.input(1), node.output(0)) else {
        return Err(PassError::refused("an embedding lacks its indices or its output"));
    };
    let (integers, scales) = match tables.get(&table) {
        Some(done) => *done,
        None => *tables.entry(table).or_insert(quantized(patch, graph, table)?),
    };
    let name = |part: &str| format!("{}.{part}", graph.value(y).name);
    let rows = standard(patch, "Gather", &name("rows"), &[integers, ids]);
    let to = [("to", Attribute::Int(DType::F32.to_onnx().into()))];
    let rows = patch.node(OpName::standard("Cast"), &name("float_rows"), &[rows], to);
    let scale = standard(patch, "Gather", &name("row_scale"), &[scales, ids]);
    let result = standard(patch, "Mul", &name("int8"), &[rows, scale]);
    patch.replace(y, result);
    Ok(())
}

fn quantized(patch: &mut Patch, graph: &Graph, table: ValueId) -> Result<(ValueId, ValueId), PassError> {
    let (values, [rows, width]) = finite(graph, table)?;
    let mut integers = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(rows);
    for row in values.chunks_exact(width.max(1)) {
        let scale = scale_of(row.iter().fold(0f32, |largest, value| largest.max(value.abs())));
        integers.extend(row.iter().map(|value| to_int8(*value, scale)));
        scales.push(scale);
    }
    let name = &graph.value(table).name;
    let integers = HostTensor::from_i8(&[rows, width], &integers);
    let integers = patch.initializer(&format!("{name}.int8"), integers, false);
    let scales =
        patch.initializer(&format!("{name}.scale"), HostTensor::from_f32(&[rows, 1], &scales), false);
    Ok((integers, scales))
}
