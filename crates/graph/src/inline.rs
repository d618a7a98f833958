//! Inner graphs become part of the graph that holds them.

use crate::{Graph, GraphError, Node, Patch, ValueId};
use std::collections::HashMap;

/// For values of an inner graph the values of the outer one that stand for them.
pub type Bindings = HashMap<ValueId, ValueId>;

impl Patch {
    /// Adds the nodes of `inner`, a graph among the attributes of a node of `outer`, and returns what its
    /// outputs become. `bound` must hold its inputs and captures; constants are added where they are not
    /// bound yet, so that several copies of a body share theirs.
    ///
    /// # Errors
    /// When a value of the inner graph is not bound, or a constant is sparse.
    pub fn inline(
        &mut self,
        outer: &Graph,
        inner: &Graph,
        bound: &mut Bindings,
    ) -> Result<Vec<ValueId>, GraphError> {
        if inner.carried.sparse_values().next().is_some() {
            return Err(GraphError::Patch { what: "an inner graph holds a sparse constant".to_owned() });
        }
        for (id, initializer) in inner.initializers() {
            bound.entry(id).or_insert_with(|| {
                let name = &inner.value(id).name;
                self.initializer(name, initializer.tensor.clone(), initializer.trainable)
            });
        }
        let unbound = |id: ValueId| GraphError::Patch {
            what: format!("the value \"{}\" of an inner graph stands for nothing", inner.value(id).name),
        };
        for node in &inner.nodes {
            let read = |id: &Option<ValueId>| match id {
                Some(id) => bound.get(id).copied().map(Some).ok_or_else(|| unbound(*id)),
                None => Ok(None),
            };
            let inputs = node.inputs.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let mut copy = Node { inputs, ..node.clone() };
            for name in node.captured_names() {
                let id = inner.find(&name).and_then(|id| bound.get(&id).copied());
                let now = id.and_then(|id| self.name_of(outer, id));
                let now = now.ok_or_else(|| GraphError::Patch {
                    what: format!("an inner graph reads \"{name}\", which stands for nothing"),
                })?;
                copy.rename_capture(&name, &now);
            }
            for output in copy.outputs.iter_mut().flatten() {
                let value = inner.value(*output);
                let made = self.value(&value.name, value.fact.clone());
                bound.insert(*output, made);
                *output = made;
            }
            self.push(copy);
        }
        inner.outputs.iter().map(|id| bound.get(id).copied().ok_or_else(|| unbound(*id))).collect()
    }
}
