//! Graph to ONNX bytes.

use super::{
    proto::{self, attribute_type},
    tensor::write_tensor,
};
use crate::{Attribute, Dim, Fact, Graph, GraphError, Model, Node, ValueId};
use prost::Message;
use std::collections::BTreeSet;

/// The IR version of models that were not read from a file: the one of opset 17.
const IR_VERSION: i64 = 8;
/// From this version on initializers need not be listed as inputs.
const LOWEST_IR_VERSION: i64 = 4;
/// A protobuf message cannot be larger.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;
/// External tensors start at multiples of this, so that a page-wise mapping works.
const EXTERNAL_ALIGNMENT: usize = 4096;

/// Writes a model as one file.
///
/// # Errors
/// When it would be larger than the 2 GiB that a protobuf message can be; see [`write_external`].
pub fn write(model: &Model) -> Result<Vec<u8>, GraphError> {
    encode(&model_proto(model))
}

/// Writes a model in two files: every initializer of at least `threshold` bytes goes to the second
/// one, which the first refers to as `location` (a file name relative to the model).
///
/// # Errors
/// When the first file is still too large; see [`write`].
pub fn write_external(
    model: &Model,
    threshold: usize,
    location: &str,
) -> Result<(Vec<u8>, Vec<u8>), GraphError> {
    let mut proto = model_proto(model);
    let mut data = Vec::new();
    let tensors = proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    for tensor in tensors.filter(|tensor| tensor.raw_data.as_ref().is_some_and(|raw| raw.len() >= threshold))
    {
        let raw = tensor.raw_data.take().unwrap_or_default();
        data.resize(data.len().next_multiple_of(EXTERNAL_ALIGNMENT), 0);
        tensor.data_location = Some(proto::DATA_LOCATION_EXTERNAL);
        tensor.external_data = vec![
            proto::StringStringEntryProto::new("location", location),
            proto::StringStringEntryProto::new("offset", data.len().to_string()),
            proto::StringStringEntryProto::new("length", raw.len().to_string()),
        ];
        data.extend_from_slice(&raw);
    }
    Ok((encode(&proto)?, data))
}

fn encode(proto: &proto::ModelProto) -> Result<Vec<u8>, GraphError> {
    let bytes = proto.encoded_len();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(GraphError::TooLargeForOneFile { bytes });
    }
    Ok(proto.encode_to_vec())
}

fn model_proto(model: &Model) -> proto::ModelProto {
    let mut proto = model.carried.model.clone();
    proto.ir_version = Some(match proto.ir_version {
        Some(version) => version.max(LOWEST_IR_VERSION),
        None => IR_VERSION,
    });
    proto.producer_name.get_or_insert_with(|| "refit".to_owned());
    let mut domains = BTreeSet::new();
    proto.graph = Some(Box::new(graph_proto(&model.graph, &mut domains)));
    let mut opsets = model.opsets.clone();
    for domain in domains {
        opsets.entry(domain).or_insert(1);
    }
    proto.opset_import = opsets
        .into_iter()
        .map(|(domain, version)| proto::OperatorSetIdProto { domain: Some(domain), version: Some(version) })
        .collect();
    let metadata = model.metadata.iter();
    proto.metadata_props =
        metadata.map(|(key, value)| proto::StringStringEntryProto::new(key, value)).collect();
    proto
}

fn graph_proto(graph: &Graph, domains: &mut BTreeSet<String>) -> proto::GraphProto {
    let carried = &graph.carried;
    let name = |id: ValueId| graph.value(id).name.clone();
    // A name is mandatory, except for inner graphs of lenient producers.
    let graph_name = if graph.name.is_empty() { "graph" } else { graph.name.as_str() };
    let mut listed: BTreeSet<ValueId> = graph.inputs.iter().chain(&graph.outputs).copied().collect();
    listed.extend(&carried.input_order);
    let intermediate = graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten());
    let value_infos = intermediate
        .filter(|id| !listed.contains(id))
        .filter(|id| graph.fact(**id).dtype.is_some() || carried.value_infos.contains_key(id))
        .map(|id| value_info(graph, *id))
        .collect();
    proto::GraphProto {
        node: graph.nodes.iter().map(|node| node_proto(graph, node, domains)).collect(),
        name: Some(graph_name.to_owned()),
        initializer: graph.initializers().map(|(id, init)| write_tensor(&name(id), &init.tensor)).collect(),
        sparse_initializer: carried.sparse.values().cloned().collect(),
        doc_string: carried.doc_string.clone(),
        input: input_order(graph).into_iter().map(|id| value_info(graph, id)).collect(),
        output: graph.outputs.iter().map(|id| value_info(graph, *id)).collect(),
        value_info: value_infos,
        quantization_annotation: carried.quantization_annotation.clone(),
        metadata_props: carried.metadata_props.clone(),
    }
}

/// The file's own order, in which constants may take part, then what was added since.
fn input_order(graph: &Graph) -> Vec<ValueId> {
    let present = |id: &ValueId| {
        graph.inputs.contains(id)
            || graph.initializers.contains_key(id)
            || graph.carried.sparse.contains_key(id)
    };
    let mut order: Vec<ValueId> = graph.carried.input_order.iter().copied().filter(present).collect();
    let added: Vec<ValueId> = graph.inputs.iter().copied().filter(|id| !order.contains(id)).collect();
    order.extend(added);
    order
}

fn value_info(graph: &Graph, id: ValueId) -> proto::ValueInfoProto {
    let value = graph.value(id);
    let mut info = graph.carried.value_infos.get(&id).cloned().unwrap_or_default();
    info.name = Some(value.name.clone());
    if let Some(mut tensor) = tensor_type(&value.fact) {
        let r#type = info.r#type.get_or_insert_default();
        let before = r#type.tensor_type.take().and_then(|tensor| tensor.shape);
        if let (Some(shape), Some(before)) = (&mut tensor.shape, before)
            && shape.dim.len() == before.dim.len()
        {
            for (dim, before) in shape.dim.iter_mut().zip(before.dim) {
                dim.denotation = before.denotation;
            }
        }
        **r#type = proto::TypeProto {
            tensor_type: Some(tensor),
            denotation: r#type.denotation.take(),
            ..Default::default()
        };
    }
    info
}

fn tensor_type(fact: &Fact) -> Option<proto::TensorTypeProto> {
    let dim = |dim: &Dim| match dim {
        Dim::Known(size) => proto::Dimension { dim_value: Some(*size as i64), ..Default::default() },
        Dim::Symbol(name) => proto::Dimension { dim_param: Some(name.clone()), ..Default::default() },
        Dim::Unknown => proto::Dimension::default(),
    };
    let shape = fact.shape.as_ref();
    Some(proto::TensorTypeProto {
        elem_type: Some(fact.dtype?.to_onnx()),
        shape: shape.map(|shape| proto::TensorShapeProto { dim: shape.iter().map(dim).collect() }),
    })
}

fn node_proto(graph: &Graph, node: &Node, domains: &mut BTreeSet<String>) -> proto::NodeProto {
    domains.insert(node.op.domain.clone());
    let name = |id: &Option<ValueId>| id.map(|id| graph.value(id).name.clone()).unwrap_or_default();
    let first = node.outputs.iter().flatten().next();
    let rest = first.and_then(|first| graph.carried.nodes.get(first)).cloned().unwrap_or_default();
    proto::NodeProto {
        input: node.inputs.iter().map(name).collect(),
        output: node.outputs.iter().map(name).collect(),
        name: (!node.name.is_empty()).then(|| node.name.clone()),
        op_type: Some(node.op.name.clone()),
        domain: (!node.op.domain.is_empty()).then(|| node.op.domain.clone()),
        attribute: node.attributes.iter().map(|(key, value)| attribute_proto(key, value, domains)).collect(),
        ..rest
    }
}

fn attribute_proto(key: &str, value: &Attribute, domains: &mut BTreeSet<String>) -> proto::AttributeProto {
    let base = |kind: i32| proto::AttributeProto {
        name: Some(key.to_owned()),
        r#type: Some(kind),
        ..Default::default()
    };
    match value {
        Attribute::Int(v) => proto::AttributeProto { i: Some(*v), ..base(attribute_type::INT) },
        Attribute::Float(v) => proto::AttributeProto { f: Some(*v), ..base(attribute_type::FLOAT) },
        Attribute::String(v) => proto::AttributeProto { s: Some(v.clone()), ..base(attribute_type::STRING) },
        Attribute::Ints(v) => proto::AttributeProto { ints: v.clone(), ..base(attribute_type::INTS) },
        Attribute::Floats(v) => proto::AttributeProto { floats: v.clone(), ..base(attribute_type::FLOATS) },
        Attribute::Strings(v) => {
            proto::AttributeProto { strings: v.clone(), ..base(attribute_type::STRINGS) }
        }
        Attribute::Tensor(v) => {
            let tensor = write_tensor("", v);
            proto::AttributeProto { t: Some(Box::new(tensor)), ..base(attribute_type::TENSOR) }
        }
        Attribute::Graph(v) => {
            let inner = graph_proto(v, domains);
            proto::AttributeProto { g: Some(Box::new(inner)), ..base(attribute_type::GRAPH) }
        }
        Attribute::Opaque(v) => (**v).clone(),
    }
}
