use crate::{Known, OpError, Site, convert, find};
use candle_core::Tensor;
use refit_graph::{DType, Fact, HostTensor, Node};

/// Computes a node on the host: constant folding and shape arithmetic. `opset` is the version of the
/// operator set of the node's domain.
///
/// # Errors
/// When the operator is not known, or does not take these inputs.
pub fn evaluate(node: &Node, opset: i64, inputs: &[Option<HostTensor>]) -> Result<Vec<HostTensor>, OpError> {
    let site = Site::new(node, opset);
    let operator =
        find(&node.op, opset).ok_or_else(|| OpError::Unsupported { op: node.op.clone(), opset })?;
    let facts: Vec<Option<Fact>> =
        inputs.iter().map(|input| input.as_ref().map(|t| Fact::new(t.dtype(), t.shape().to_vec()))).collect();
    let known = Known {
        facts: facts.iter().map(Option::as_ref).collect(),
        constants: inputs.iter().map(Option::as_ref).collect(),
    };
    let inferred = operator.infer(&site, &known)?;
    let tensors: Vec<Option<Tensor>> = inputs
        .iter()
        .map(|input| input.as_ref().map(|tensor| convert::to_device(tensor, site.device)).transpose())
        .collect::<Result<_, _>>()?;
    let types: Vec<Option<DType>> = inferred.iter().map(|fact| fact.dtype).collect();
    let outputs = operator.forward(&Site { types: &types, ..site }, &tensors)?;
    outputs
        .iter()
        .enumerate()
        .map(|(index, output)| match types.get(index).copied().flatten() {
            Some(dtype) => convert::to_host_as(output, dtype),
            None => convert::to_host(output),
        })
        .collect()
}
