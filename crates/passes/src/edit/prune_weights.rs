//! Sets the smallest weights of every layer to zero: the model has the shape that it had.
//!
//! ```text
//! x -> Linear(W [N, K], b) -> y    =>    the same, a share of the elements of W exactly 0
//! ```
//!
//! In each layer those go whose magnitude is smallest (Han et al. 2015, arXiv:1506.02626). Embeddings, norms, biases and
//! the head stay whole. Engines multiply by zeros as by anything else, so nothing is faster; a file compresses better.

use super::{HEAD_PREFIX, parameters};
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Graph, HostTensor, Model, Node, Patch, ValueId};
use std::collections::HashSet;
use std::fmt;

/// Sets a share of the weights of every linear and convolutional layer to zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PruneWeights {
    /// The share of each layer's weights that goes, from 0 to below 1.
    pub share: f64,
}

/// How many weights are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ZeroWeights {
    /// Weights of layers that can be pruned which are exactly 0.
    pub zeros: usize,
    /// All weights of these layers.
    pub weights: usize,
}

impl ZeroWeights {
    /// Of a graph as it is trained, adapters merged.
    pub fn of(graph: &Graph) -> Self {
        let mut found = Self::default();
        for id in PruneWeights::layers(graph) {
            let values = graph.initializer(id).and_then(|initializer| initializer.tensor.to_f32());
            let values = values.unwrap_or_default();
            found.weights += values.len();
            found.zeros += values.iter().filter(|value| **value == 0.0).count();
        }
        found
    }

    /// Zeros of all weights, from 0 to 1; 0 of none.
    pub fn share(&self) -> f64 {
        self.zeros as f64 / self.weights.max(1) as f64
    }
}

impl fmt::Display for ZeroWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zeros, weights } = self;
        let share = 100.0 * self.share();
        write!(f, "{zeros} of {weights} weights of linear layers and convolutions are zero ({share:.1} %)")
    }
}

impl PruneWeights {
    /// The weights that it thins out: those of linear layers, matrix products and convolutions which nobody reads in
    /// another way, without those of the head.
    pub fn layers(graph: &Graph) -> Vec<ValueId> {
        let consumers = graph.consumers();
        let of_a_layer = |id: ValueId| {
            let reads = |node: &Node| node.inputs.iter().filter(|input| **input == Some(id)).count();
            consumers[id.index()].iter().all(|reader| {
                let node = graph.node(*reader);
                is_layer(node) && node.input(1) == Some(id) && reads(node) == 1
            })
        };
        let outputs: HashSet<ValueId> = graph.outputs().iter().copied().collect();
        let is_matrix = |id: ValueId| {
            graph.initializer(id).is_some_and(|initializer| initializer.tensor.shape().len() >= 2)
        };
        parameters(graph)
            .into_iter()
            .filter(|id| is_matrix(*id) && of_a_layer(*id) && !outputs.contains(id))
            .filter(|id| !graph.value(*id).name.starts_with(HEAD_PREFIX))
            .collect()
    }
}

impl Edit for PruneWeights {
    fn name(&self) -> &'static str {
        "prune-weights"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Measured
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        if !(0.0..1.0).contains(&self.share) {
            return Err(PassError::refused(format!("a share of {} weights is not in [0, 1)", self.share)));
        }
        let graph = &model.graph;
        let layers = Self::layers(graph);
        if layers.is_empty() {
            return Err(PassError::refused(
                "the model has no linear layer or convolution before its head: leave train.prune.weights away",
            ));
        }
        let mut patch = Patch::new(graph);
        for id in layers {
            let name = &graph.value(id).name;
            let found = graph.initializer(id);
            let values = found.and_then(|initializer| initializer.tensor.to_f32());
            let (Some(initializer), Some(mut values)) = (found, values) else {
                return Err(PassError::refused(format!("\"{name}\" is no array of floats")));
            };
            thin_out(&mut values, self.share);
            let tensor = HostTensor::from_f32(initializer.tensor.shape(), &values);
            let new = patch.initializer(name, tensor, initializer.trainable);
            patch.replace(id, new);
            patch.rename(new, name);
        }
        Ok(patch)
    }
}

/// Operators that multiply what they are given by their second input.
fn is_layer(node: &Node) -> bool {
    node.op.is_refit("Linear")
        || ["MatMul", "Gemm", "Conv", "ConvTranspose"].iter().any(|name| node.op.is(name))
}

/// Sets the `share` of `values` to zero whose magnitude is smallest, the first of equal ones first.
fn thin_out(values: &mut [f32], share: f64) {
    let count = (share * values.len() as f64).ceil() as usize;
    if count == 0 || count > values.len() {
        return;
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.select_nth_unstable_by(count - 1, |a, b| {
        values[*a].abs().total_cmp(&values[*b].abs()).then(a.cmp(b))
    });
    for place in &order[..count] {
        values[*place] = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::thin_out;

    #[test]
    fn the_smallest_magnitudes_go() {
        for (share, expected) in [
            (0.0, [3.0, -1.0, 0.5, -4.0, 1.0]),
            (0.2, [3.0, -1.0, 0.0, -4.0, 1.0]),
            (0.4, [3.0, 0.0, 0.0, -4.0, 1.0]),
            (0.5, [3.0, 0.0, 0.0, -4.0, 0.0]),
            (0.99, [0.0; 5]),
        ] {
            let mut values = [3.0, -1.0, 0.5, -4.0, 1.0];
            thin_out(&mut values, share);
            assert_eq!(values, expected, "{share}");
            let once = values;
            thin_out(&mut values, share);
            assert_eq!(values, once, "what is zero goes first");
        }
    }
}
