//! Takes heads out of attentions: the model is really smaller.
//!
//! ```text
//! x -> Linear(Wq [H*D, K]) -+
//! x -> Linear(Wk [H*D, K]) -+-> Attention(H) -> Linear(Wo [N, H*D]) -> y
//! x -> Linear(Wv [H*D, K]) -+
//! =>  the same with h < H heads: Wq, Wk, Wv [h*D, K], Wo [N, h*D]
//! ```
//!
//! Those go whose part in the result is smallest by magnitude: the norm of the head's values times that of the weights
//! that read it. What is lost is learned again by the training that follows (Michel et al. 2019, arXiv:1905.10650).

use super::slices::{Layer, most_important};
use crate::rewrite::Rewrite;
use crate::{Edit, PassError, Tolerance};
use refit_graph::{Attribute, Graph, Model, Node, NodeId, Patch};

/// Takes a share of the heads out of every attention; one stays at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PruneHeads {
    /// The share that goes, from 0 to below 1.
    pub share: f64,
}

impl Edit for PruneHeads {
    fn name(&self) -> &'static str {
        "prune-heads"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance::Measured
    }

    fn apply(&self, model: &Model) -> Result<Patch, PassError> {
        if !(0.0..1.0).contains(&self.share) {
            return Err(PassError::refused(format!("a share of {} heads is not in [0, 1)", self.share)));
        }
        let graph = &model.graph;
        let consumers = graph.consumers();
        let mut rewrite = Rewrite::new(model);
        let mut found = false;
        for (_, node) in graph.nodes().filter(|(_, node)| node.op.is_refit("Attention")) {
            let Some(attention) = Attention::of(&rewrite, &consumers, node) else { continue };
            found = true;
            attention.prune(&mut rewrite, node, self.share)?;
        }
        if !found {
            return Err(PassError::refused(
                "no attention has projections of its own whose heads could be taken out: leave train.prune.heads away",
            ));
        }
        Ok(rewrite.patch)
    }
}

/// An attention whose projections nobody else reads.
struct Attention {
    heads: usize,
    /// Queries, keys and values.
    projections: [Layer; 3],
    output: Layer,
}

impl Attention {
    fn of(rewrite: &Rewrite<'_>, consumers: &[Vec<NodeId>], node: &Node) -> Option<Self> {
        let graph = rewrite.graph();
        let heads = usize::try_from(node.int("num_heads")?).ok().filter(|heads| *heads > 0)?;
        // A bias may be one a head.
        if node.input(4).is_some() {
            return None;
        }
        let projection = |index: usize| {
            let made = node.input(index).filter(|id| rewrite.read_once(*id))?;
            Layer::of(graph, consumers, rewrite.producer(made)?)
        };
        let projections = [projection(0)?, projection(1)?, projection(2)?];
        let output = match consumers[node.output(0)?.index()].as_slice() {
            [reader] => Layer::of(graph, consumers, graph.node(*reader))?,
            _ => return None,
        };
        Some(Self { heads, projections, output })
    }

    fn prune(&self, rewrite: &mut Rewrite<'_>, node: &Node, share: f64) -> Result<(), PassError> {
        let graph = rewrite.graph();
        let importance = self
            .importance(graph)
            .ok_or_else(|| PassError::refused("an attention's weights do not fit its number of heads"))?;
        let count = self.heads - (share * self.heads as f64).floor() as usize;
        let count = count.max(1);
        if count == self.heads {
            return Ok(());
        }
        let width = self.output.input_norms(graph).map_or(0, |norms| norms.len()) / self.heads;
        let kept = most_important(&importance, count);
        let places: Vec<usize> = kept.iter().flat_map(|head| head * width..(head + 1) * width).collect();
        for projection in &self.projections {
            projection.keep_outputs(&mut rewrite.patch, graph, &places)?;
        }
        self.output.keep_inputs(&mut rewrite.patch, graph, &places)?;
        let mut new = node.clone();
        // The scale that follows from the width of a head when it is not written stays the same.
        new.attributes.insert("num_heads".to_owned(), Attribute::Int(count as i64));
        rewrite.replace_node(node, new);
        Ok(())
    }

    fn importance(&self, graph: &Graph) -> Option<Vec<f32>> {
        let (values, read) = (self.projections[2].output_norms(graph)?, self.output.input_norms(graph)?);
        let width = values.len() / self.heads;
        let fits = width > 0 && values.len() == read.len() && values.len() == width * self.heads;
        let norm = |part: &[f32]| part.iter().map(|value| value * value).sum::<f32>().sqrt();
        let of_heads = values.chunks(width.max(1)).zip(read.chunks(width.max(1)));
        fits.then(|| of_heads.map(|(values, read)| norm(values) * norm(read)).collect())
    }
}
