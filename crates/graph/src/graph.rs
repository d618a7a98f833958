use crate::{Attribute, Dim, Fact, GraphError, HostTensor, Node, onnx};
use std::collections::{BTreeMap, HashMap};

/// A value of one graph: an input, an initializer or the output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

/// The position of a node in its graph's topological order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl ValueId {
    /// Index into tables that have one entry a value ([`Graph::value_count`] long).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// Index into tables that have one entry a node ([`Graph::node_count`] long).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A named value and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Unique in its graph, never empty.
    pub name: String,
    /// dtype, shape and, for shape arithmetic, elements.
    pub fact: Fact,
}

/// A constant of the graph: a parameter or part of its arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub struct Initializer {
    /// The elements.
    pub tensor: HostTensor,
    /// Whether training may change it.
    pub trainable: bool,
}

/// Nodes in topological order over a table of values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// Name, for messages.
    pub name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) values: Vec<Value>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) initializers: BTreeMap<ValueId, Initializer>,
    /// Inner graphs only: values that are defined in a surrounding graph, by name.
    pub(crate) captures: Vec<ValueId>,
    /// What the file says of this graph and refit does not look into.
    pub(crate) carried: onnx::CarriedGraph,
}

impl Graph {
    /// An empty graph; see also [`crate::Patch`], through which every later change goes.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Number of values that were ever made; dead ones included.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// Nodes in topological order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// One value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// What is known of a value.
    pub fn fact(&self, id: ValueId) -> &Fact {
        &self.values[id.index()].fact
    }

    /// Replaces what is known of a value; shape inference is the caller.
    pub fn set_fact(&mut self, id: ValueId, fact: Fact) {
        self.values[id.index()].fact = fact;
    }

    /// The value of this name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|value| value.name == name).map(|index| ValueId(index as u32))
    }

    /// Inputs that a caller must supply, in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Outputs, in order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Values of a surrounding graph that this inner graph reads.
    pub fn captures(&self) -> &[ValueId] {
        &self.captures
    }

    /// Constants by value.
    pub fn initializers(&self) -> impl Iterator<Item = (ValueId, &Initializer)> {
        self.initializers.iter().map(|(id, initializer)| (*id, initializer))
    }

    /// The constant that a value is, if it is one.
    pub fn initializer(&self, id: ValueId) -> Option<&Initializer> {
        self.initializers.get(&id)
    }

    /// Replaces the elements of a constant (after training); dtype and shape must stay.
    ///
    /// # Errors
    /// When `id` is no initializer, or dtype or shape differ.
    pub fn set_initializer(&mut self, id: ValueId, tensor: HostTensor) -> Result<(), GraphError> {
        let name = self.value(id).name.clone();
        let slot = self
            .initializers
            .get_mut(&id)
            .ok_or_else(|| GraphError::Patch { what: format!("\"{name}\" is not an initializer") })?;
        if slot.tensor.dtype() != tensor.dtype() || slot.tensor.shape() != tensor.shape() {
            return Err(GraphError::Patch {
                what: format!(
                    "initializer \"{name}\" is {}{:?}, not {}{:?}",
                    slot.tensor.dtype(),
                    slot.tensor.shape(),
                    tensor.dtype(),
                    tensor.shape()
                ),
            });
        }
        slot.tensor = tensor;
        Ok(())
    }

    /// Marks a constant as trainable or frozen. Does nothing for other values.
    pub fn set_trainable(&mut self, id: ValueId, trainable: bool) {
        if let Some(initializer) = self.initializers.get_mut(&id) {
            initializer.trainable = trainable;
        }
    }

    /// Who makes each value: one entry a value.
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut producers = vec![None; self.values.len()];
        for (id, node) in self.nodes() {
            for output in node.outputs.iter().flatten() {
                producers[output.index()] = Some(id);
            }
        }
        producers
    }

    /// Who reads each value: one entry a value, a node once for each time that it reads it.
    /// Reads by inner graphs count for the node that holds the inner graph.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        let names: HashMap<&str, ValueId> = self
            .values
            .iter()
            .enumerate()
            .map(|(index, value)| (value.name.as_str(), ValueId(index as u32)))
            .collect();
        for (id, node) in self.nodes() {
            for input in node.inputs.iter().flatten() {
                consumers[input.index()].push(id);
            }
            for name in node.captured_names() {
                if let Some(value) = names.get(name.as_str()) {
                    consumers[value.index()].push(id);
                }
            }
        }
        consumers
    }

    /// How to name a node in a message: its name, or its operator and first output.
    pub fn describe(&self, id: NodeId) -> String {
        let node = self.node(id);
        let place = match (node.name.as_str(), node.outputs.iter().flatten().next()) {
            ("", Some(output)) => format!("the node that makes \"{}\"", self.value(*output).name),
            ("", None) => format!("node {}", id.0),
            (name, _) => format!("node \"{name}\""),
        };
        format!("{} ({place})", node.op)
    }

    /// Adds an input of the graph.
    pub fn add_input(&mut self, name: &str, fact: Fact) -> ValueId {
        let id = self.add_value(name, fact);
        self.inputs.push(id);
        id
    }

    pub(crate) fn add_value(&mut self, name: &str, fact: Fact) -> ValueId {
        self.values.push(Value { name: name.to_owned(), fact });
        ValueId((self.values.len() - 1) as u32)
    }

    /// Makes an existing value a constant; its fact becomes what the tensor is.
    pub(crate) fn put_initializer(&mut self, id: ValueId, initializer: Initializer) {
        self.set_fact(id, fact_of_constant(&initializer.tensor));
        self.initializers.insert(id, initializer);
    }
}

/// Longest integer constant whose elements shape arithmetic may follow.
const MAX_ELEMENTS: usize = 64;

/// What is known of a constant: everything, for small non-negative integers their elements too.
pub(crate) fn fact_of_constant(tensor: &HostTensor) -> Fact {
    let mut fact = Fact::new(tensor.dtype(), tensor.shape().iter().copied());
    if tensor.shape().len() <= 1 && tensor.len() <= MAX_ELEMENTS && !tensor.dtype().is_float() {
        fact.elements = tensor.to_i64().and_then(|elements| {
            elements.into_iter().map(|element| usize::try_from(element).ok().map(Dim::Known)).collect()
        });
    }
    fact
}

impl Node {
    /// Graphs among the attributes (`If`, `Loop`, `Scan`).
    pub fn inner_graphs(&self) -> impl Iterator<Item = &Graph> {
        self.attributes.values().filter_map(|attribute| match attribute {
            Attribute::Graph(inner) => Some(&**inner),
            _ => None,
        })
    }

    /// Names of outer values that the inner graphs of this node read.
    pub fn captured_names(&self) -> Vec<String> {
        let graphs = self.inner_graphs();
        graphs.flat_map(|inner| inner.captures.iter().map(|id| inner.value(*id).name.clone())).collect()
    }

    /// An outer value has a new name.
    pub(crate) fn rename_capture(&mut self, old: &str, new: &str) {
        for attribute in self.attributes.values_mut() {
            let Attribute::Graph(inner) = attribute else { continue };
            let captured = inner.captures.iter().copied().find(|id| inner.value(*id).name == old);
            if let Some(id) = captured {
                inner.values[id.index()].name = new.to_owned();
                inner.nodes.iter_mut().for_each(|node| node.rename_capture(old, new));
            }
        }
    }
}

/// A graph with what ONNX says around it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// The graph.
    pub graph: Graph,
    /// Operator set version by domain (`""` is the standard).
    pub opsets: BTreeMap<String, i64>,
    /// `metadata_props`: free text that travels with the model.
    pub metadata: BTreeMap<String, String>,
    /// What a file carries that refit does not look into: kept for the round trip.
    pub(crate) carried: onnx::Carried,
}

impl Model {
    /// A model around `graph` at one version of the standard's operators.
    pub fn new(graph: Graph, opset: i64) -> Self {
        Self { graph, opsets: BTreeMap::from([(String::new(), opset)]), ..Self::default() }
    }

    /// Version of the standard's operators.
    pub fn opset(&self) -> i64 {
        self.opsets.get("").copied().unwrap_or(1)
    }
}
