use super::standard;
use refit_graph::{Attribute, DType, Graph, HostTensor, Node, OpName, Patch, ValueId};

/// Sums over the sequence (mean pooling), taken in the order of the tokens: engines choose the order of a
/// `ReduceSum` by the length of the axis, so that padding, though it adds nothing but zeros, would change
/// the rounding.
pub(super) fn in_order(patch: &mut Patch, graph: &Graph) {
    let sums: Vec<(ValueId, ValueId)> =
        graph.nodes().filter_map(|(_, node)| over_sequence(graph, node)).collect();
    if sums.is_empty() {
        return;
    }
    let axis = patch.initializer("int8.sequence_axis", HostTensor::from_i64(&[], &[1]), false);
    let last = patch.initializer("int8.last", HostTensor::from_i64(&[], &[-1]), false);
    for (x, y) in sums {
        let name = |part: &str| format!("{}.{part}", graph.value(y).name);
        let running = standard(patch, "CumSum", &name("running"), &[x, axis]);
        let along = [("axis", Attribute::Int(1))];
        let total = patch.node(OpName::standard("Gather"), &name("in_order"), &[running, last], along);
        patch.replace(y, total);
    }
}

/// The input and output of a sum over axis 1 of float32 `[batch, sequence, hidden]` that drops the axis.
fn over_sequence(graph: &Graph, node: &Node) -> Option<(ValueId, ValueId)> {
    let (x, axes) = (node.input(0)?, node.input(1)?);
    let axes = graph.initializer(axes)?.tensor.to_i64()?;
    let fact = graph.fact(x);
    let fits = node.op.is("ReduceSum")
        && node.int("keepdims") == Some(0)
        && axes == [1]
        && fact.dtype == Some(DType::F32)
        && fact.rank() == Some(3);
    fits.then_some((x, node.output(0)?))
}
