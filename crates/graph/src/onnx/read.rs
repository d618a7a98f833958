//! ONNX bytes to graph.

use super::{
    Carried, ExternalData,
    external::ExternalReader,
    proto::{self, attribute_type},
    tensor::read_tensor,
};
use crate::{
    Attribute, DType, Dim, Fact, Graph, GraphError, HostTensor, Initializer, Model, Node, OpName, ValueId,
};
use bytes::Bytes;
use prost::Message;
use std::collections::{BTreeMap, HashMap};

/// Reads a model. Raw tensor data shares `bytes`, so a memory-mapped file is not copied. Nothing is
/// trainable yet.
///
/// # Errors
/// When the bytes are no ONNX model, are truncated, name a value that nothing defines or define one
/// twice, or when an external tensor cannot be had.
pub fn read(bytes: Bytes, external: &dyn ExternalData) -> Result<Model, GraphError> {
    let mut model = proto::ModelProto::decode(bytes)?;
    let graph = model.graph.take().ok_or_else(|| malformed("it holds no graph"))?;
    let mut reader = Reader { external: ExternalReader::new(external) };
    let graph = reader.graph(*graph, &[])?;
    let opsets = std::mem::take(&mut model.opset_import)
        .into_iter()
        .map(|opset| (domain(opset.domain), opset.version.unwrap_or(1)))
        .collect();
    let metadata = std::mem::take(&mut model.metadata_props)
        .into_iter()
        .map(|entry| (entry.key.unwrap_or_default(), entry.value.unwrap_or_default()))
        .collect();
    Ok(Model { graph, opsets, metadata, carried: Carried { model } })
}

fn malformed(what: impl Into<String>) -> GraphError {
    GraphError::Malformed { what: what.into() }
}

fn domain(domain: Option<String>) -> String {
    domain.filter(|name| name != "ai.onnx").unwrap_or_default()
}

struct Reader<'a> {
    external: ExternalReader<'a>,
}

/// A graph under construction: values by name, and who has defined one already.
struct Scope {
    graph: Graph,
    ids: HashMap<String, ValueId>,
    facts: HashMap<String, Fact>,
}

impl Scope {
    /// A value that is defined here and nowhere else.
    fn define(&mut self, name: &str) -> Result<ValueId, GraphError> {
        if name.is_empty() {
            return Err(malformed("a graph input or an initializer has no name"));
        }
        if self.ids.contains_key(name) {
            return Err(malformed(format!("value \"{name}\" is defined twice")));
        }
        let fact = self.facts.get(name).cloned().unwrap_or_default();
        let id = self.graph.add_value(name, fact);
        self.ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// A value that is read here: defined here, or captured from one of the `outer` scopes.
    fn resolve(
        &mut self,
        name: &str,
        reader: &str,
        outer: &[&HashMap<String, ValueId>],
    ) -> Result<ValueId, GraphError> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        if outer.iter().any(|names| names.contains_key(name)) {
            let id = self.define(name)?;
            self.graph.captures.push(id);
            return Ok(id);
        }
        Err(malformed(format!("{reader} reads \"{name}\", which nothing defines")))
    }
}

impl Reader<'_> {
    fn graph(
        &mut self,
        mut proto: proto::GraphProto,
        outer: &[&HashMap<String, ValueId>],
    ) -> Result<Graph, GraphError> {
        let mut scope = Scope {
            graph: Graph::new(proto.name.take().unwrap_or_default()),
            ids: HashMap::new(),
            facts: facts(&proto),
        };
        self.constants(&mut scope, &proto)?;
        inputs(&mut scope, &proto)?;
        // All outputs are defined before any node is read, so that the order in the file is free.
        let mut outputs = Vec::with_capacity(proto.node.len());
        for node in &proto.node {
            let ids: Result<Vec<_>, _> = node
                .output
                .iter()
                .map(|name| if name.is_empty() { Ok(None) } else { scope.define(name).map(Some) })
                .collect();
            outputs.push(ids?);
        }
        for (node, outputs) in std::mem::take(&mut proto.node).into_iter().zip(outputs) {
            self.node(&mut scope, node, outputs, outer)?;
        }
        for info in &proto.output {
            let name = info.name.as_deref().unwrap_or_default();
            let id = scope.resolve(name, "the list of the graph's outputs", outer)?;
            scope.graph.outputs.push(id);
        }
        keep_rest(&mut scope, proto);
        let mut graph = scope.graph;
        graph.sort()?;
        Ok(graph)
    }

    fn constants(&mut self, scope: &mut Scope, proto: &proto::GraphProto) -> Result<(), GraphError> {
        for tensor in &proto.initializer {
            let name = tensor.name.as_deref().unwrap_or_default();
            let place = format!("initializer \"{name}\"");
            let tensor = read_tensor(tensor, &place, &mut self.external)?;
            let id = scope.define(name)?;
            scope.graph.put_initializer(id, Initializer { tensor, trainable: false });
        }
        for tensor in &proto.sparse_initializer {
            let values =
                tensor.values.as_ref().ok_or_else(|| malformed("a sparse initializer has no values"))?;
            let id = scope.define(values.name.as_deref().unwrap_or_default())?;
            let dtype = DType::from_onnx(values.data_type.unwrap_or_default());
            let shape = tensor.dims.iter().map(|dim| usize::try_from(*dim).map_or(Dim::Unknown, Dim::Known));
            scope.graph.set_fact(id, Fact::new(dtype, shape));
            scope.graph.carried.sparse.insert(id, tensor.clone());
        }
        Ok(())
    }

    fn node(
        &mut self,
        scope: &mut Scope,
        mut proto: proto::NodeProto,
        outputs: Vec<Option<ValueId>>,
        outer: &[&HashMap<String, ValueId>],
    ) -> Result<(), GraphError> {
        let name = proto.name.take().unwrap_or_default();
        let op = OpName {
            domain: domain(proto.domain.take()),
            name: proto
                .op_type
                .take()
                .filter(|op| !op.is_empty())
                .ok_or_else(|| malformed(format!("node \"{name}\" names no operator")))?,
        };
        let reader = format!("node \"{name}\" ({op})");
        let mut inputs = Vec::with_capacity(proto.input.len());
        for input in &proto.input {
            inputs.push(match input.as_str() {
                "" => None,
                name => Some(scope.resolve(name, &reader, outer)?),
            });
        }
        let mut attributes = BTreeMap::new();
        for attribute in std::mem::take(&mut proto.attribute) {
            let key = attribute.name.clone().unwrap_or_default();
            let value = self.attribute(scope, attribute, &reader, outer)?;
            if attributes.insert(key.clone(), value).is_some() {
                return Err(malformed(format!("{reader} gives the attribute \"{key}\" twice")));
            }
        }
        let has_more = proto.doc_string.is_some()
            || proto.overload.is_some()
            || !proto.metadata_props.is_empty()
            || !proto.device_configurations.is_empty();
        if has_more && let Some(first) = outputs.iter().flatten().next() {
            proto.input.clear();
            proto.output.clear();
            scope.graph.carried.nodes.insert(*first, proto);
        }
        scope.graph.nodes.push(Node { name, op, inputs, outputs, attributes });
        Ok(())
    }

    fn attribute(
        &mut self,
        scope: &mut Scope,
        mut proto: proto::AttributeProto,
        reader: &str,
        outer: &[&HashMap<String, ValueId>],
    ) -> Result<Attribute, GraphError> {
        if proto.ref_attr_name.as_deref().is_some_and(|name| !name.is_empty()) {
            return Ok(Attribute::Opaque(Box::new(proto)));
        }
        let missing = |what: &str| malformed(format!("{reader} has an attribute without its {what}"));
        Ok(match attribute_kind(&proto) {
            attribute_type::FLOAT => Attribute::Float(proto.f.unwrap_or_default()),
            attribute_type::INT => Attribute::Int(proto.i.unwrap_or_default()),
            attribute_type::STRING => Attribute::String(proto.s.unwrap_or_default()),
            attribute_type::FLOATS => Attribute::Floats(proto.floats),
            attribute_type::INTS => Attribute::Ints(proto.ints),
            attribute_type::STRINGS => Attribute::Strings(proto.strings),
            attribute_type::TENSOR => {
                let tensor = proto.t.take().ok_or_else(|| missing("tensor"))?;
                Attribute::Tensor(self.attribute_tensor(&tensor, reader)?)
            }
            attribute_type::GRAPH => {
                let inner = proto.g.take().ok_or_else(|| missing("graph"))?;
                let inner = {
                    let scopes: Vec<_> = outer.iter().copied().chain([&scope.ids]).collect();
                    self.graph(*inner, &scopes)?
                };
                // What an inner graph reads from further out passes through this one.
                for id in inner.captures.clone() {
                    scope.resolve(&inner.value(id).name, reader, outer)?;
                }
                Attribute::Graph(Box::new(inner))
            }
            _ => Attribute::Opaque(Box::new(proto)),
        })
    }

    fn attribute_tensor(
        &mut self,
        tensor: &proto::TensorProto,
        reader: &str,
    ) -> Result<HostTensor, GraphError> {
        read_tensor(tensor, &format!("a tensor attribute of {reader}"), &mut self.external)
    }
}

/// The type of an attribute; files of the first versions leave it out.
fn attribute_kind(proto: &proto::AttributeProto) -> i32 {
    match proto.r#type.unwrap_or_default() {
        0 if proto.f.is_some() => attribute_type::FLOAT,
        0 if proto.i.is_some() => attribute_type::INT,
        0 if proto.s.is_some() => attribute_type::STRING,
        0 if proto.t.is_some() => attribute_type::TENSOR,
        0 if proto.g.is_some() => attribute_type::GRAPH,
        0 if !proto.floats.is_empty() => attribute_type::FLOATS,
        0 if !proto.ints.is_empty() => attribute_type::INTS,
        0 if !proto.strings.is_empty() => attribute_type::STRINGS,
        given => given,
    }
}

/// What the file says of its values' types.
fn facts(proto: &proto::GraphProto) -> HashMap<String, Fact> {
    let infos = proto.value_info.iter().chain(&proto.output).chain(&proto.input);
    infos.filter_map(|info| Some((info.name.clone()?, fact(info)))).collect()
}

fn fact(info: &proto::ValueInfoProto) -> Fact {
    let tensor = info.r#type.as_ref().and_then(|r#type| r#type.tensor_type.as_ref());
    let Some(tensor) = tensor else { return Fact::default() };
    let dim = |dim: &proto::Dimension| match (&dim.dim_value, &dim.dim_param) {
        (Some(size), _) => usize::try_from(*size).map_or(Dim::Unknown, Dim::Known),
        (None, Some(name)) if !name.is_empty() => Dim::Symbol(name.clone()),
        _ => Dim::Unknown,
    };
    Fact {
        dtype: tensor.elem_type.filter(|code| *code != 0).map(DType::from_onnx),
        shape: tensor.shape.as_ref().map(|shape| shape.dim.iter().map(dim).collect()),
        elements: None,
    }
}

fn inputs(scope: &mut Scope, proto: &proto::GraphProto) -> Result<(), GraphError> {
    for info in &proto.input {
        let name = info.name.as_deref().unwrap_or_default();
        // Up to IR version 3 initializers are listed here too; later it gives an input a default.
        let known = scope.ids.get(name).copied();
        let constant = known.filter(|id| {
            let listed = scope.graph.carried.input_order.contains(id);
            !listed
                && (scope.graph.initializers.contains_key(id) || scope.graph.carried.sparse.contains_key(id))
        });
        let id = match constant {
            Some(id) => id,
            None => {
                let id = scope.define(name)?;
                scope.graph.inputs.push(id);
                id
            }
        };
        scope.graph.carried.input_order.push(id);
    }
    Ok(())
}

/// Keeps what a fact cannot hold, for the round trip.
fn keep_rest(scope: &mut Scope, proto: proto::GraphProto) {
    let carried = &mut scope.graph.carried;
    for info in proto.value_info.into_iter().chain(proto.output).chain(proto.input) {
        if says_more_than_a_fact(&info)
            && let Some(id) = info.name.as_ref().and_then(|name| scope.ids.get(name))
        {
            carried.value_infos.insert(*id, info);
        }
    }
    carried.doc_string = proto.doc_string;
    carried.metadata_props = proto.metadata_props;
    carried.quantization_annotation = proto.quantization_annotation;
    // The order is worth keeping only where it differs from the order of the inputs.
    if carried.input_order == scope.graph.inputs {
        carried.input_order.clear();
    }
}

fn says_more_than_a_fact(info: &proto::ValueInfoProto) -> bool {
    let unread = |r#type: &proto::TypeProto| {
        let dims = r#type.tensor_type.iter().filter_map(|tensor| tensor.shape.as_ref()).flat_map(|s| &s.dim);
        r#type.tensor_type.is_none()
            || r#type.denotation.is_some()
            || dims.into_iter().any(|dim| dim.denotation.is_some())
    };
    info.doc_string.is_some()
        || !info.metadata_props.is_empty()
        || info.r#type.as_ref().is_some_and(|r#type| unread(r#type))
}
