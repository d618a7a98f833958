//! Patches: the only way in which a graph changes.

use crate::{
    Attribute, Fact, Graph, GraphError, HostTensor, Initializer, Node, NodeId, OpName, ValueId,
    graph::fact_of_constant,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A change to one graph, made by a pass and applied by the driver.
///
/// New nodes may read old values; [`Patch::replace`] hands the readers of an old value over to a new
/// one. What nobody reads any more is removed when the patch is applied, and the nodes are brought
/// back into topological order.
#[derive(Debug, Default)]
pub struct Patch {
    first_value: u32,
    values: Vec<(String, Fact)>,
    initializers: BTreeMap<ValueId, Initializer>,
    nodes: Vec<Node>,
    replaced: Vec<(ValueId, ValueId)>,
    removed: BTreeSet<NodeId>,
    trainable: BTreeMap<ValueId, bool>,
    outputs: Option<Vec<ValueId>>,
    inputs: Vec<ValueId>,
    removed_inputs: BTreeSet<ValueId>,
    renamed: BTreeMap<ValueId, String>,
    names: HashSet<String>,
}

impl Patch {
    /// An empty patch of `graph`.
    pub fn new(graph: &Graph) -> Self {
        Self { first_value: graph.values.len() as u32, names: graph.names(), ..Self::default() }
    }

    /// Whether applying it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.replaced.is_empty()
            && self.removed.is_empty()
            && self.trainable.is_empty()
            && self.outputs.is_none()
            && self.inputs.is_empty()
            && self.removed_inputs.is_empty()
            && self.renamed.is_empty()
    }

    /// A new constant. A name that is taken gets a number appended.
    pub fn initializer(&mut self, name: &str, tensor: HostTensor, trainable: bool) -> ValueId {
        let fact = fact_of_constant(&tensor);
        let id = self.value(name, fact);
        self.initializers.insert(id, Initializer { tensor, trainable });
        id
    }

    /// A new input of the graph.
    pub fn input(&mut self, name: &str, fact: Fact) -> ValueId {
        let id = self.value(name, fact);
        self.inputs.push(id);
        id
    }

    /// A new node with one output, named `name` like its output. Returns the output.
    pub fn node(
        &mut self,
        op: OpName,
        name: &str,
        inputs: &[ValueId],
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        self.node_with(op, name, inputs, 1, attributes)[0]
    }

    /// A new node with optional inputs and several outputs. Returns the outputs.
    pub fn node_with(
        &mut self,
        op: OpName,
        name: &str,
        inputs: Vec<Option<ValueId>>,
        output_count: usize,
        attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
    ) -> Vec<ValueId> {
        let outputs: Vec<ValueId> = (0..output_count).map(|_| self.value(name, Fact::default())).collect();
        self.nodes.push(Node {
            name: name.to_owned(),
            op,
            inputs,
            outputs: outputs.iter().copied().map(Some).collect(),
            attributes: attributes.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        });
        outputs
    }

    /// Gives the node that was added last these attributes in place of its own.
    pub fn set_attributes(&mut self, attributes: BTreeMap<String, Attribute>) {
        if let Some(node) = self.nodes.last_mut() {
            node.attributes = attributes;
        }
    }

    /// Every reader of `old`, and the graph's outputs, read `new` instead. If `old` is an output of the
    /// graph, `new` takes over its name.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        self.replaced.push((old, new));
    }

    /// Removes a node whose outputs nobody reads after this patch.
    pub fn remove(&mut self, node: NodeId) {
        self.removed.insert(node);
    }

    /// Marks an old constant as trainable or frozen.
    pub fn set_trainable(&mut self, id: ValueId, trainable: bool) {
        self.trainable.insert(id, trainable);
    }

    /// The graph's outputs from now on.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = Some(outputs);
    }

    /// Takes an input away that nobody reads after this patch.
    pub fn remove_input(&mut self, id: ValueId) {
        self.removed_inputs.insert(id);
    }

    /// Gives a value, old or new, this name once everything else is done. Of values that are dead by then
    /// the name may be taken; of one that is live it may not.
    pub fn rename(&mut self, id: ValueId, name: &str) {
        self.renamed.insert(id, name.to_owned());
    }

    /// Gives a new value a fact, so that readers need not infer it.
    pub fn set_fact(&mut self, id: ValueId, fact: Fact) {
        if let Some((_, slot)) =
            id.0.checked_sub(self.first_value).and_then(|i| self.values.get_mut(i as usize))
        {
            *slot = fact;
        }
    }

    /// Applies the patch. Only pass drivers and builders of graphs call this.
    ///
    /// # Errors
    /// When the patch was made for another graph, or leaves a cycle.
    pub fn apply(self, graph: &mut Graph) -> Result<(), GraphError> {
        if self.first_value as usize != graph.values.len() {
            return Err(GraphError::Patch { what: "it was made for another graph".to_owned() });
        }
        for (name, fact) in &self.values {
            graph.add_value(name, fact.clone());
        }
        graph.initializers.extend(self.initializers);
        graph.inputs.extend(&self.inputs);
        for (id, trainable) in self.trainable {
            graph.set_trainable(id, trainable);
        }

        let mut index = 0;
        graph.nodes.retain(|_| {
            index += 1;
            !self.removed.contains(&NodeId(index - 1))
        });
        let first_new_node = graph.nodes.len();
        graph.nodes.extend(self.nodes);

        // A new node may read the value that it replaces; only readers that were there before move.
        let replaced: HashMap<ValueId, ValueId> = self.replaced.iter().copied().collect();
        let names = graph.ids_by_name();
        for node in &mut graph.nodes[..first_new_node] {
            for input in node.inputs.iter_mut().flatten() {
                *input = follow(&replaced, *input);
            }
        }
        if let Some(outputs) = self.outputs {
            graph.outputs = outputs;
        }
        for position in 0..graph.outputs.len() {
            graph.hand_over_output(position, &replaced);
        }
        graph.rename_captures(&names, &replaced, first_new_node);
        graph.remove_dead();
        graph.remove_inputs(&self.removed_inputs)?;
        graph.rename(&self.renamed)?;
        graph.sort()
    }

    /// Adds a node whose values are all known.
    pub(crate) fn push(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// The name of a value of this patch or of the graph that it changes.
    pub(crate) fn name_of(&self, graph: &Graph, id: ValueId) -> Option<String> {
        match id.0.checked_sub(self.first_value) {
            Some(index) => self.values.get(index as usize).map(|(name, _)| name.clone()),
            None => Some(graph.value(id).name.clone()),
        }
    }

    pub(crate) fn value(&mut self, name: &str, fact: Fact) -> ValueId {
        let mut unique = name.to_owned();
        let mut number = 0;
        while unique.is_empty() || self.names.contains(&unique) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        self.names.insert(unique.clone());
        self.values.push((unique, fact));
        ValueId(self.first_value + self.values.len() as u32 - 1)
    }
}

fn follow(replaced: &HashMap<ValueId, ValueId>, mut id: ValueId) -> ValueId {
    for _ in 0..=replaced.len() {
        match replaced.get(&id) {
            Some(next) => id = *next,
            None => break,
        }
    }
    id
}

impl Graph {
    /// Names that a new value must not have: those of inner graphs too, which share one name space.
    fn names(&self) -> HashSet<String> {
        let mut names: HashSet<String> = self.values.iter().map(|value| value.name.clone()).collect();
        for inner in self.nodes.iter().flat_map(Node::inner_graphs) {
            names.extend(inner.names());
        }
        names
    }

    /// Output `position` becomes what replaces it and keeps its name.
    fn hand_over_output(&mut self, position: usize, replaced: &HashMap<ValueId, ValueId>) {
        let old = self.outputs[position];
        let mut new = follow(replaced, old);
        if new == old {
            return;
        }
        let named_by_the_caller = self.inputs.contains(&new)
            || self.initializers.contains_key(&new)
            || self.captures.contains(&new)
            || self.outputs.contains(&new);
        if named_by_the_caller {
            // The other name must stay as well, so the output becomes a copy.
            let name = self.values[old.index()].name.clone();
            let copy = self.add_value(&format!("{name}_copy_{}", self.values.len()), self.fact(new).clone());
            self.nodes.push(Node {
                name,
                op: OpName::standard("Identity"),
                inputs: vec![Some(new)],
                outputs: vec![Some(copy)],
                attributes: BTreeMap::new(),
            });
            new = copy;
        }
        self.outputs[position] = new;
        let name = self.values[old.index()].name.clone();
        let other = std::mem::replace(&mut self.values[new.index()].name, name);
        self.values[old.index()].name = other;
    }

    /// Inner graphs read outer values by name: they follow replacements and new names.
    fn rename_captures(
        &mut self,
        names: &HashMap<String, ValueId>,
        replaced: &HashMap<ValueId, ValueId>,
        first_new_node: usize,
    ) {
        let values = &self.values;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            for name in node.captured_names() {
                let Some(old) = names.get(&name).copied() else { continue };
                let id = if index < first_new_node { follow(replaced, old) } else { old };
                let now = &values[id.index()].name;
                if *now != name {
                    node.rename_capture(&name, now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    fn relu_of_input() -> (Graph, ValueId, ValueId) {
        let mut graph = Graph::new("test");
        let x = graph.add_input("x", Fact::new(DType::F32, [2usize]));
        let mut patch = Patch::new(&graph);
        let y = patch.node(OpName::standard("Relu"), "y", &[x], []);
        patch.set_outputs(vec![y]);
        patch.apply(&mut graph).unwrap();
        (graph, x, y)
    }

    #[test]
    fn a_new_value_takes_the_name_of_a_dead_one() {
        let (mut graph, x, _) = relu_of_input();
        let mut patch = Patch::new(&graph);
        let z = patch.node(OpName::standard("Abs"), "y", &[x], []);
        patch.set_outputs(vec![z]);
        patch.rename(z, "y");
        patch.apply(&mut graph).unwrap();
        assert_eq!(graph.find("y"), Some(z));
        assert_eq!(graph.value(z).name, "y");
    }

    #[test]
    fn the_name_of_a_live_value_is_refused() {
        let (mut graph, _, y) = relu_of_input();
        let mut patch = Patch::new(&graph);
        patch.rename(y, "x");
        let error = patch.apply(&mut graph).unwrap_err().to_string();
        assert!(error.contains("the name \"x\" is taken"), "{error}");
    }

    #[test]
    fn two_values_swap_their_names() {
        let (mut graph, x, y) = relu_of_input();
        let mut patch = Patch::new(&graph);
        patch.rename(x, "y");
        patch.rename(y, "x");
        patch.apply(&mut graph).unwrap();
        assert_eq!((graph.find("y"), graph.find("x")), (Some(x), Some(y)));
    }

    #[test]
    fn an_input_that_is_read_cannot_be_removed() {
        let (mut graph, x, _) = relu_of_input();
        let mut patch = Patch::new(&graph);
        let other = patch.input("other", Fact::default());
        patch.apply(&mut graph).unwrap();
        let mut patch = Patch::new(&graph);
        patch.remove_input(other);
        patch.apply(&mut graph).unwrap();
        assert_eq!(graph.inputs(), [x]);
        let mut patch = Patch::new(&graph);
        patch.remove_input(x);
        assert!(patch.apply(&mut graph).is_err());
    }
}
