//! Takes columns out of feed-forward layers: the model is really smaller.
//!
//! ```text
//! x -> Linear(W1 [F, K], b1 [F]) -> Gelu -> Linear(W2 [N, F]) -> y
//! =>  the same with f < F columns: W1 [f, K], b1 [f], W2 [N, f]
//! ```
//!
//! Those go whose part in the result is smallest by magnitude: the norm of the weights that make the column times that
//! of the weights that read it.

use super::slices::{Layer, most_important};
use crate::rewrite::Rewrite;
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Model, Node, Patch};

/// Columns are left in groups of as many: engines compute on vectors.
const GROUP: usize = 16;

/// Takes a share of the columns out of every feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PruneFeedForward {
    /// The share that goes, from 0 to below 1.
    pub share: f64,
}

impl Edit for PruneFeedForward {
    fn name(&self) -> &'static str {
        "prune-feed-forward"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Measured
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        if !(0.0..1.0).contains(&self.share) {
            return Err(PassError::refused(format!("a share of {} columns is not in [0, 1)", self.share)));
        }
        let graph = &model.graph;
        let consumers = graph.consumers();
        let mut patch = Patch::new(graph);
        let rewrite = Rewrite::new(model);
        let mut found = false;
        for (_, node) in graph.nodes().filter(|(_, node)| is_activation(node)) {
            let layers = || {
                let (x, y) = (node.input(0)?, node.output(0)?);
                let first = rewrite.producer(x).filter(|_| rewrite.read_once(x))?;
                let second = match consumers[y.index()].as_slice() {
                    [reader] => graph.node(*reader),
                    _ => return None,
                };
                Some((Layer::of(graph, &consumers, first)?, Layer::of(graph, &consumers, second)?))
            };
            let Some((first, second)) = layers() else { continue };
            let (Some(made), Some(read)) = (first.output_norms(graph), second.input_norms(graph)) else {
                continue;
            };
            if made.len() != read.len() {
                continue;
            }
            found = true;
            let importance: Vec<f32> = made.iter().zip(&read).map(|(made, read)| made * read).collect();
            let count = left(importance.len(), self.share);
            if count < importance.len() {
                let kept = most_important(&importance, count);
                first.keep_outputs(&mut patch, graph, &kept)?;
                second.keep_inputs(&mut patch, graph, &kept)?;
            }
        }
        if !found {
            return Err(PassError::refused(
                "no two linear layers have nothing but an activation between them: leave train.prune.feed_forward away",
            ));
        }
        Ok(patch)
    }
}

fn is_activation(node: &Node) -> bool {
    node.op.is_refit("Gelu")
        || node.op.is_refit("Silu")
        || ["Gelu", "Relu", "Tanh"].iter().any(|name| node.op.is(name))
}

/// How many of `columns` stay: whole groups, one at least.
fn left(columns: usize, share: f64) -> usize {
    let wanted = ((1.0 - share) * columns as f64).ceil() as usize;
    wanted.max(1).div_ceil(GROUP).saturating_mul(GROUP).min(columns)
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn columns_stay_in_groups() {
        for (columns, share, expected) in
            [(1536, 0.5, 768), (1536, 0.0, 1536), (100, 0.5, 64), (8, 0.9, 8), (64, 0.999, 16)]
        {
            assert_eq!(left(columns, share), expected, "{columns} at {share}");
        }
    }
}
