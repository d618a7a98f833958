//! What pattern rewrites share: looking at the graph, and one patch with many replacements.

use refit_graph::{Attribute, Dim, Graph, HostTensor, Model, Node, OpName, Patch, ValueId};
use std::collections::HashMap;

/// A patch under construction, whose new nodes read what earlier replacements of the same patch made.
/// Visit the places to be rewritten in the graph's order.
pub(crate) struct Rewrite<'a> {
    pub(crate) model: &'a Model,
    pub(crate) patch: Patch,
    producers: Vec<Option<refit_graph::NodeId>>,
    readers: Vec<usize>,
    replaced: HashMap<ValueId, ValueId>,
    /// Lowering: weights that were transposed already.
    pub(crate) transposed: HashMap<ValueId, ValueId>,
}

impl<'a> Rewrite<'a> {
    pub(crate) fn new(model: &'a Model) -> Self {
        let graph = &model.graph;
        let mut readers: Vec<usize> = graph.consumers().iter().map(Vec::len).collect();
        for output in graph.outputs() {
            readers[output.index()] += 1;
        }
        Self {
            model,
            patch: Patch::new(graph),
            producers: graph.producers(),
            readers,
            replaced: HashMap::new(),
            transposed: HashMap::new(),
        }
    }

    pub(crate) fn graph(&self) -> &'a Graph {
        &self.model.graph
    }

    /// The node that makes a value.
    pub(crate) fn producer(&self, value: ValueId) -> Option<&'a Node> {
        self.producers[value.index()].map(|id| self.graph().node(id))
    }

    /// The node that makes a value, if it is the standard's operator `op`.
    pub(crate) fn made_by(&self, value: ValueId, op: &str) -> Option<&'a Node> {
        self.producer(value).filter(|node| node.op.is(op))
    }

    /// The two inputs of the standard's operator `op`, in both orders.
    pub(crate) fn either_order(&self, value: ValueId, op: &str) -> Vec<(ValueId, ValueId)> {
        let inputs = self.made_by(value, op).and_then(|node| Some((node.input(0)?, node.input(1)?)));
        inputs.map_or_else(Vec::new, |(a, b)| vec![(a, b), (b, a)])
    }

    /// Whether one node alone, or one output, reads this value.
    pub(crate) fn read_once(&self, value: ValueId) -> bool {
        self.readers[value.index()] == 1
    }

    /// Whether nothing at all reads this value.
    pub(crate) fn unread(&self, value: ValueId) -> bool {
        self.readers[value.index()] == 0
    }

    /// A constant's elements.
    pub(crate) fn constant(&self, value: ValueId) -> Option<&'a HostTensor> {
        self.graph().initializer(value).map(|initializer| &initializer.tensor)
    }

    /// The only element of a frozen float constant.
    pub(crate) fn scalar(&self, value: ValueId) -> Option<f32> {
        let initializer = self.graph().initializer(value).filter(|initializer| !initializer.trainable)?;
        match initializer.tensor.to_f32()?.as_slice() {
            [element] => Some(*element),
            _ => None,
        }
    }

    /// Whether a value is a constant scalar near `expected` (one part in a thousand: exporters round).
    pub(crate) fn is_scalar(&self, value: ValueId, expected: f32) -> bool {
        self.scalar(value).is_some_and(|scalar| (scalar - expected).abs() <= 1e-3 * expected.abs())
    }

    /// The rank of a value, when it is known.
    pub(crate) fn rank(&self, value: ValueId) -> Option<usize> {
        self.graph().fact(value).rank()
    }

    /// The shape of a value, when its rank is known.
    pub(crate) fn shape(&self, value: ValueId) -> Option<&'a [Dim]> {
        self.graph().fact(value).shape.as_deref()
    }

    /// Whether an axis, possibly counted from the end, is the last one of `value`.
    pub(crate) fn is_last_axis(&self, axis: i64, value: ValueId) -> bool {
        axis == -1 || self.rank(value).is_some_and(|rank| axis == rank as i64 - 1)
    }

    /// What a new node must read in place of `value`.
    pub(crate) fn current(&self, value: ValueId) -> ValueId {
        self.replaced.get(&value).copied().unwrap_or(value)
    }

    /// Adds a node that reads the current values, and returns its output.
    pub(crate) fn node(
        &mut self,
        op: OpName,
        name: &str,
        inputs: &[ValueId],
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> ValueId {
        let inputs: Vec<ValueId> = inputs.iter().map(|input| self.current(*input)).collect();
        self.patch.node(op, name, &inputs, attributes)
    }

    /// Readers of `old` read `new` from now on.
    pub(crate) fn replace(&mut self, old: ValueId, new: ValueId) {
        self.replaced.insert(old, new);
        self.patch.replace(old, new);
    }

    /// `new` takes the place of `old`: like it in all but operator, inputs and attributes.
    pub(crate) fn replace_node(&mut self, old: &Node, new: Node) -> Option<()> {
        let inputs = new.inputs.iter().map(|input| input.map(|id| self.current(id))).collect();
        let outputs = self.patch.node_with(new.op, &new.name, inputs, new.outputs.len(), []);
        self.patch.set_attributes(new.attributes);
        for (old, new) in old.outputs.iter().zip(outputs) {
            if let Some(old) = old {
                self.replace(*old, new);
            }
        }
        Some(())
    }

    /// The patch, if there is anything in it.
    pub(crate) fn finish(self) -> Option<Patch> {
        Some(self.patch).filter(|patch| !patch.is_empty())
    }
}
