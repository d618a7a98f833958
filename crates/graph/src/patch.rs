//! Patches: the only way in which a graph changes.

use crate::{Attribute, Fact, Graph, GraphError, HostTensor, Initializer, Node, NodeId, OpName, ValueId};
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
        Self {
            first_value: graph.values.len() as u32,
            names: graph.values.iter().map(|value| value.name.clone()).collect(),
            ..Self::default()
        }
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
        let fact = Fact::new(tensor.dtype(), tensor.shape().iter().copied());
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
        for node in &mut graph.nodes[..first_new_node] {
            for input in node.inputs.iter_mut().flatten() {
                *input = follow(&replaced, *input);
            }
        }
        if let Some(outputs) = self.outputs {
            graph.outputs = outputs;
        }
        for position in 0..graph.outputs.len() {
            let old = graph.outputs[position];
            let new = follow(&replaced, old);
            if new != old {
                graph.outputs[position] = new;
                let name = graph.values[old.index()].name.clone();
                let other = std::mem::replace(&mut graph.values[new.index()].name, name);
                graph.values[old.index()].name = other;
            }
        }
        graph.remove_dead();
        graph.remove_inputs(&self.removed_inputs)?;
        graph.rename(&self.renamed)?;
        graph.sort()
    }

    fn value(&mut self, name: &str, fact: Fact) -> ValueId {
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
    /// Drops nodes and constants that no output depends on. Inputs stay.
    fn remove_dead(&mut self) {
        let names: HashMap<String, ValueId> = self
            .values
            .iter()
            .enumerate()
            .map(|(index, value)| (value.name.clone(), ValueId(index as u32)))
            .collect();
        let producers = self.producers();
        let mut live_nodes = vec![false; self.nodes.len()];
        let mut live_values = vec![false; self.values.len()];
        let mut queue = self.outputs.clone();
        while let Some(value) = queue.pop() {
            if std::mem::replace(&mut live_values[value.index()], true) {
                continue;
            }
            let Some(producer) = producers[value.index()] else { continue };
            if std::mem::replace(&mut live_nodes[producer.index()], true) {
                continue;
            }
            let node = &self.nodes[producer.index()];
            queue.extend(node.inputs.iter().flatten());
            queue.extend(node.captured_names().iter().filter_map(|name| names.get(name)));
        }
        let mut live = live_nodes.iter();
        self.nodes.retain(|_| *live.next().unwrap_or(&false));
        self.initializers.retain(|id, _| live_values[id.index()]);
    }

    fn remove_inputs(&mut self, unwanted: &BTreeSet<ValueId>) -> Result<(), GraphError> {
        let consumers = self.consumers();
        for id in unwanted {
            if !consumers[id.index()].is_empty() || self.outputs.contains(id) {
                let what = format!("input \"{}\" is still read", self.value(*id).name);
                return Err(GraphError::Patch { what });
            }
        }
        self.inputs.retain(|id| !unwanted.contains(id));
        Ok(())
    }

    fn rename(&mut self, renamed: &BTreeMap<ValueId, String>) -> Result<(), GraphError> {
        if renamed.is_empty() {
            return Ok(());
        }
        let mut live = vec![false; self.values.len()];
        let produced = self.nodes.iter().flat_map(|node| node.outputs.iter().flatten());
        for id in produced.chain(&self.inputs).chain(&self.captures).chain(self.initializers.keys()) {
            live[id.index()] = true;
        }
        let captured: HashSet<String> = self.nodes.iter().flat_map(Node::captured_names).collect();
        for (id, name) in renamed {
            if captured.contains(&self.value(*id).name) {
                let what = format!("\"{}\" is read by an inner graph under this name", self.value(*id).name);
                return Err(GraphError::Patch { what });
            }
            if let Some(holder) = self.find(name).filter(|holder| holder != id) {
                if live[holder.index()] && !renamed.contains_key(&holder) {
                    let what = format!("the name \"{name}\" is taken");
                    return Err(GraphError::Patch { what });
                }
                self.values[holder.index()].name = self.free_name(name);
            }
            self.values[id.index()].name = name.clone();
        }
        Ok(())
    }

    fn free_name(&self, name: &str) -> String {
        let names: HashSet<&str> = self.values.iter().map(|value| value.name.as_str()).collect();
        let mut number = 1;
        while names.contains(format!("{name}_{number}").as_str()) {
            number += 1;
        }
        format!("{name}_{number}")
    }

    /// Brings the nodes into topological order, keeping the present order where it is free.
    fn sort(&mut self) -> Result<(), GraphError> {
        let producers = self.producers();
        let names: HashMap<&str, ValueId> = self
            .values
            .iter()
            .enumerate()
            .map(|(index, value)| (value.name.as_str(), ValueId(index as u32)))
            .collect();
        let mut state = vec![Visit::New; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        for root in 0..self.nodes.len() {
            let mut stack = vec![(root, false)];
            while let Some((index, done)) = stack.pop() {
                if done {
                    state[index] = Visit::Done;
                    order.push(index);
                    continue;
                }
                match state[index] {
                    Visit::Done => continue,
                    Visit::Open => {
                        let what = format!("{} reads its own result", self.describe(NodeId(index as u32)));
                        return Err(GraphError::Patch { what });
                    }
                    Visit::New => state[index] = Visit::Open,
                }
                stack.push((index, true));
                let node = &self.nodes[index];
                let captured = node.captured_names();
                let reads = node
                    .inputs
                    .iter()
                    .flatten()
                    .copied()
                    .chain(captured.iter().filter_map(|name| names.get(name.as_str()).copied()));
                for value in reads {
                    if let Some(producer) = producers[value.index()]
                        && state[producer.index()] != Visit::Done
                    {
                        stack.push((producer.index(), false));
                    }
                }
            }
        }
        let mut position = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            position[*old] = new;
        }
        let mut nodes: Vec<(usize, Node)> = std::mem::take(&mut self.nodes)
            .into_iter()
            .enumerate()
            .map(|(old, node)| (position[old], node))
            .collect();
        nodes.sort_by_key(|(position, _)| *position);
        self.nodes = nodes.into_iter().map(|(_, node)| node).collect();
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    New,
    Open,
    Done,
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
