//! Weights with some of their rows or columns, under their old names.

use crate::PassError;
use refit_graph::{Graph, HostTensor, Node, Patch, ValueId};

/// A linear layer whose weight and bias are constants of its own.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    weight: ValueId,
    bias: Option<ValueId>,
    /// The axis of the weight that holds the outputs.
    outputs: usize,
}

impl Layer {
    /// The layer that a node is; `None` for anything else, and for weights that others read too.
    pub(super) fn of(graph: &Graph, consumers: &[Vec<refit_graph::NodeId>], node: &Node) -> Option<Self> {
        let weight = node.input(1).filter(|_| node.op.is_refit("Linear"))?;
        let own = |id: ValueId| graph.initializer(id).is_some() && consumers[id.index()].len() == 1;
        let bias = node.input(2);
        let rank = graph.initializer(weight)?.tensor.shape().len();
        let outputs = if node.int("transB") == Some(1) { 0 } else { 1 };
        (rank == 2 && own(weight) && bias.is_none_or(own)).then_some(Self { weight, bias, outputs })
    }

    /// The norm of the weights of each output.
    pub(super) fn output_norms(&self, graph: &Graph) -> Option<Vec<f32>> {
        norms(&graph.initializer(self.weight)?.tensor, self.outputs)
    }

    /// The norm of the weights of each input.
    pub(super) fn input_norms(&self, graph: &Graph) -> Option<Vec<f32>> {
        norms(&graph.initializer(self.weight)?.tensor, 1 - self.outputs)
    }

    /// Leaves these outputs.
    pub(super) fn keep_outputs(
        &self,
        patch: &mut Patch,
        graph: &Graph,
        keep: &[usize],
    ) -> Result<(), PassError> {
        replace(patch, graph, self.weight, self.outputs, keep)?;
        match self.bias {
            Some(bias) => replace(patch, graph, bias, 0, keep),
            None => Ok(()),
        }
    }

    /// Leaves these inputs.
    pub(super) fn keep_inputs(
        &self,
        patch: &mut Patch,
        graph: &Graph,
        keep: &[usize],
    ) -> Result<(), PassError> {
        replace(patch, graph, self.weight, 1 - self.outputs, keep)
    }
}

/// The `count` largest of `importance`, in their old order.
pub(super) fn most_important(importance: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..importance.len()).collect();
    order.sort_by(|a, b| importance[*b].total_cmp(&importance[*a]).then(a.cmp(b)));
    order.truncate(count);
    order.sort_unstable();
    order
}

fn norms(tensor: &HostTensor, axis: usize) -> Option<Vec<f32>> {
    let values = tensor.to_f32()?;
    let &[_, columns] = tensor.shape() else { return None };
    let mut squares = vec![0f64; tensor.shape()[axis]];
    for (place, value) in values.iter().enumerate() {
        let at = if axis == 0 { place / columns } else { place % columns };
        squares[at] += f64::from(*value).powi(2);
    }
    Some(squares.into_iter().map(|square| square.sqrt() as f32).collect())
}

/// A constant with some of its places along an axis.
fn replace(
    patch: &mut Patch,
    graph: &Graph,
    id: ValueId,
    axis: usize,
    keep: &[usize],
) -> Result<(), PassError> {
    let name = &graph.value(id).name;
    let found = graph.initializer(id);
    let picked = found.and_then(|initializer| pick(&initializer.tensor, axis, keep));
    let (Some(initializer), Some(picked)) = (found, picked) else {
        return Err(PassError::refused(format!(
            "\"{name}\" cannot be made smaller: it is no matrix of floats"
        )));
    };
    let new = patch.initializer(name, picked, initializer.trainable);
    patch.replace(id, new);
    patch.rename(new, name);
    Ok(())
}

fn pick(tensor: &HostTensor, axis: usize, keep: &[usize]) -> Option<HostTensor> {
    let values = tensor.to_f32()?;
    let shape = tensor.shape();
    let (size, inner) = (*shape.get(axis)?, shape[axis + 1..].iter().product::<usize>());
    let mut picked = Vec::with_capacity(values.len() / size.max(1) * keep.len());
    for outer in values.chunks_exact((size * inner).max(1)) {
        for at in keep {
            picked.extend_from_slice(outer.get(at * inner..(at + 1) * inner)?);
        }
    }
    let mut shape = shape.to_vec();
    shape[axis] = keep.len();
    Some(HostTensor::from_f32(&shape, &picked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_are_picked() {
        let matrix = HostTensor::from_f32(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
        assert_eq!(pick(&matrix, 0, &[1]), Some(HostTensor::from_f32(&[1, 3], &[4., 5., 6.])));
        assert_eq!(pick(&matrix, 1, &[0, 2]), Some(HostTensor::from_f32(&[2, 2], &[1., 3., 4., 6.])));
        assert_eq!(pick(&matrix, 1, &[3]), None);
    }

    #[test]
    fn the_largest_stay_in_their_order() {
        assert_eq!(most_important(&[3.0, 1.0, 2.0, 3.0], 3), [0, 2, 3]);
        assert_eq!(norms(&HostTensor::from_f32(&[2, 2], &[3., 4., 0., 1.]), 0), Some(vec![5.0, 1.0]));
    }
}
