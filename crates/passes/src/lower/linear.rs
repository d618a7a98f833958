//! ```text
//! refit.Linear(x, W [N, K], bias), transB = 1  ->  Add(MatMul(x, W^T [K, N]), bias)
//! ```
//! The weight is transposed in the file, once, and keeps its name where nothing else reads it as it was.

use crate::rewrite::Rewrite;
use bytes::Bytes;
use refit_graph::{HostTensor, Node, OpName, ValueId};

pub(super) fn lower(rewrite: &mut Rewrite, node: &Node) -> Option<()> {
    let (x, weight) = (node.input(0)?, node.input(1)?);
    let weight = match node.int("transB").unwrap_or(0) {
        0 => weight,
        _ => transposed(rewrite, weight)?,
    };
    let product = match node.input(2) {
        None => rewrite.node(OpName::standard("MatMul"), &node.name, &[x, weight], []),
        Some(bias) => {
            let name = format!("{}.matmul", node.name);
            let product = rewrite.node(OpName::standard("MatMul"), &name, &[x, weight], []);
            rewrite.node(OpName::standard("Add"), &node.name, &[product, bias], [])
        }
    };
    rewrite.replace(node.output(0)?, product);
    Some(())
}

fn transposed(rewrite: &mut Rewrite, weight: ValueId) -> Option<ValueId> {
    if let Some(done) = rewrite.transposed.get(&weight) {
        return Some(*done);
    }
    let name = rewrite.graph().value(weight).name.clone();
    let new = match rewrite.constant(weight) {
        Some(tensor) => {
            let new = rewrite.patch.initializer(&format!("{name}.T"), transpose(tensor)?, false);
            if only_transposed(rewrite, weight) {
                rewrite.patch.rename(new, &name);
            }
            new
        }
        None => {
            let perm = refit_graph::Attribute::Ints(vec![1, 0]);
            rewrite.node(OpName::standard("Transpose"), &format!("{name}.T"), &[weight], [("perm", perm)])
        }
    };
    rewrite.transposed.insert(weight, new);
    Some(new)
}

/// Whether every reader takes the weight as `[N, K]`, so that the old form goes.
fn only_transposed(rewrite: &Rewrite, weight: ValueId) -> bool {
    let graph = rewrite.graph();
    !graph.outputs().contains(&weight)
        && graph.consumers()[weight.index()].iter().all(|reader| {
            let node = graph.node(*reader);
            let reads = node.inputs.iter().flatten().filter(|input| **input == weight).count();
            node.op.is_refit("Linear")
                && node.int("transB") == Some(1)
                && node.input(1) == Some(weight)
                && reads == 1
        })
}

/// A matrix with rows and columns exchanged, whatever its element type.
pub(crate) fn transpose(tensor: &HostTensor) -> Option<HostTensor> {
    let &[rows, columns] = tensor.shape() else { return None };
    let size = tensor.dtype().size()?;
    let data = tensor.bytes();
    let mut out = vec![0u8; data.len()];
    for row in 0..rows {
        for column in 0..columns {
            let (from, to) = ((row * columns + column) * size, (column * rows + row) * size);
            out[to..to + size].copy_from_slice(&data[from..from + size]);
        }
    }
    HostTensor::from_bytes(tensor.dtype(), vec![columns, rows], Bytes::from(out)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed() {
        let matrix = HostTensor::from_f32(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
        let flipped = HostTensor::from_f32(&[3, 2], &[1., 4., 2., 5., 3., 6.]);
        assert_eq!(transpose(&matrix), Some(flipped));
    }
}
