//! A small file that uses most of what ONNX can say.

pub use refit_graph::onnx::proto;

fn value(name: &str, dims: &[&str]) -> proto::ValueInfoProto {
    let dim = |dim: &&str| match dim.parse() {
        Ok(size) => proto::Dimension { dim_value: Some(size), ..Default::default() },
        Err(_) => proto::Dimension { dim_param: Some((*dim).to_owned()), ..Default::default() },
    };
    let shape = proto::TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = proto::TensorTypeProto { elem_type: Some(1), shape: Some(shape) };
    proto::ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(Box::new(proto::TypeProto { tensor_type: Some(tensor), ..Default::default() })),
        ..Default::default()
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> proto::NodeProto {
    proto::NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

/// A float32 tensor in another file.
pub fn external_f32(name: &str, entries: &[(&str, &str)]) -> proto::TensorProto {
    let entries = entries.iter().map(|(key, value)| proto::StringStringEntryProto::new(*key, *value));
    proto::TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(1),
        data_location: Some(proto::DATA_LOCATION_EXTERNAL),
        external_data: entries.collect(),
        ..Default::default()
    }
}

fn branch(name: &str, op: &str) -> proto::AttributeProto {
    let output = format!("{name}_out");
    let graph = proto::GraphProto {
        name: Some(name.to_owned()),
        node: vec![node(op, &["sum"], &output)],
        output: vec![value(&output, &["batch", "2"])],
        ..Default::default()
    };
    proto::AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(5),
        g: Some(Box::new(graph)),
        ..Default::default()
    }
}

/// `out = if flag { relu(x + w) } else { -(x + w) }`, its nodes in the wrong order, with documentation,
/// a default input, annotations, a function, training information and metadata around it.
pub fn sample() -> proto::ModelProto {
    let raw: Vec<u8> = [1.0f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let weight = proto::TensorProto {
        name: Some("w".into()),
        dims: vec![2],
        data_type: Some(1),
        raw_data: Some(raw.into()),
        ..Default::default()
    };
    let axes = proto::TensorProto {
        name: Some("axes".into()),
        dims: vec![1],
        data_type: Some(7),
        int64_data: vec![1],
        ..Default::default()
    };
    let flag = proto::TensorProto {
        name: Some("flag".into()),
        data_type: Some(9),
        int32_data: vec![1],
        ..Default::default()
    };
    let mut choose = node("If", &["flag"], "out");
    choose.attribute = vec![branch("then_branch", "Relu"), branch("else_branch", "Neg")];
    choose.doc_string = Some("chooses".into());
    let mut documented = value("sum", &["batch", "2"]);
    documented.doc_string = Some("x and w".into());
    let graph = proto::GraphProto {
        name: Some("sample".into()),
        node: vec![choose, node("Add", &["x", "w"], "sum")],
        initializer: vec![weight, axes, flag],
        doc_string: Some("a sample".into()),
        input: vec![value("w", &["2"]), value("x", &["batch", "2"])],
        output: vec![value("out", &["batch", "2"])],
        value_info: vec![documented],
        quantization_annotation: vec![proto::TensorAnnotation {
            tensor_name: Some("x".into()),
            quant_parameter_tensor_names: vec![proto::StringStringEntryProto::new("SCALE_TENSOR", "w")],
        }],
        ..Default::default()
    };
    proto::ModelProto {
        ir_version: Some(8),
        opset_import: vec![proto::OperatorSetIdProto { domain: None, version: Some(17) }],
        producer_name: Some("a test".into()),
        graph: Some(Box::new(graph)),
        metadata_props: vec![proto::StringStringEntryProto::new("task", "none")],
        training_info: vec![proto::TrainingInfoProto::default()],
        functions: vec![proto::FunctionProto { name: Some("f".into()), ..Default::default() }],
        ..Default::default()
    }
}
