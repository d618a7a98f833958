//! Bytes to graph and back, and what damaged bytes do.

mod made;

use bytes::Bytes;
use made::{proto, sample};
use proptest::prelude::*;
use prost::Message;
use refit_graph::onnx::{self, ExternalData, NoExternalData};
use refit_graph::{Attribute, DType, Dim, Fact, HostTensor, OpName, Patch, verify};

fn read(bytes: Vec<u8>) -> Result<refit_graph::Model, String> {
    onnx::read(bytes.into(), &NoExternalData).map_err(|error| error.to_string())
}

/// Equal but for the numbers of the values, which follow the order in the file.
fn assert_same(left: &refit_graph::Model, right: &refit_graph::Model) {
    let proto = |model| proto::ModelProto::decode(onnx::write(model).unwrap().as_slice()).unwrap();
    assert_eq!(proto(left), proto(right));
}

#[test]
fn a_model_comes_back_as_it_was() {
    let file = sample();
    let model = read(file.encode_to_vec()).unwrap();
    verify(&model, "reading").unwrap();
    let bytes = onnx::write(&model).unwrap();
    let mut again = proto::ModelProto::decode(bytes.as_slice()).unwrap();
    assert_same(&model, &read(bytes).unwrap());
    // But for what may differ: the order of the nodes, typed fields, attributes' order, defaults.
    let mut expected = file;
    expected.opset_import[0].domain = Some(String::new());
    for graph in [expected.graph.as_mut().unwrap(), again.graph.as_mut().unwrap()] {
        graph.node.sort_by_key(|node| node.op_type.clone());
        graph.initializer.clear();
        graph.node.iter_mut().for_each(|node| node.attribute.sort_by_key(|a| a.name.clone()));
    }
    assert_eq!(again, expected);
}

#[test]
fn what_a_file_says_is_read() {
    let model = read(sample().encode_to_vec()).unwrap();
    let graph = &model.graph;
    assert_eq!(model.opset(), 17);
    assert_eq!(model.metadata["task"], "none");
    let x = graph.find("x").unwrap();
    assert_eq!(graph.inputs(), [x]);
    assert_eq!(graph.fact(x), &Fact::new(DType::F32, [Dim::from("batch"), Dim::from(2usize)]));
    let weight = graph.initializer(graph.find("w").unwrap()).unwrap();
    assert_eq!(weight.tensor, HostTensor::from_f32(&[2], &[1.0, -2.0]));
    assert!(!weight.trainable);
    let axes = graph.find("axes").unwrap();
    assert_eq!(graph.fact(axes).elements, Some(vec![Dim::Known(1)]));
    // The file lists the reader of `sum` before its maker.
    let order: Vec<&str> = graph.nodes().map(|(_, node)| node.op.name.as_str()).collect();
    assert_eq!(order, ["Add", "If"]);
    let (_, branch) = graph.nodes().last().unwrap();
    assert_eq!(branch.captured_names(), ["sum", "sum"]);
    assert_eq!(graph.consumers()[graph.find("sum").unwrap().index()].len(), 2);
}

#[test]
fn raw_data_is_shared_with_the_file() {
    let bytes = Bytes::from(sample().encode_to_vec());
    let model = onnx::read(bytes.clone(), &NoExternalData).unwrap();
    let raw = &model.graph.initializer(model.graph.find("w").unwrap()).unwrap().tensor;
    let inside = bytes.as_ptr_range();
    assert!(inside.contains(&raw.bytes().as_ptr()));
}

/// Each typed field of the standard with the element type that it serves.
#[test]
fn typed_fields_become_bytes() {
    let check = |tensor: proto::TensorProto, expected: HostTensor| {
        let mut file = sample();
        let graph = file.graph.as_mut().unwrap();
        graph.initializer.push(proto::TensorProto { name: Some("typed".into()), dims: vec![2], ..tensor });
        let model = read(file.encode_to_vec()).unwrap();
        let found = model.graph.initializer(model.graph.find("typed").unwrap()).unwrap();
        assert_eq!(found.tensor, expected);
    };
    let ints = |dtype: i32, values: &[i32]| proto::TensorProto {
        data_type: Some(dtype),
        int32_data: values.to_vec(),
        ..Default::default()
    };
    let raw =
        |dtype, bytes: &[u8]| HostTensor::from_bytes(dtype, vec![2], Bytes::copy_from_slice(bytes)).unwrap();
    check(ints(3, &[-1, 2]), HostTensor::from_i8(&[2], &[-1, 2]));
    check(ints(2, &[255, 2]), HostTensor::from_u8(&[2], &[255, 2]));
    check(ints(9, &[1, 0]), raw(DType::Bool, &[1, 0]));
    check(ints(10, &[0x3c00, 0xc000]), raw(DType::F16, &[0x00, 0x3c, 0x00, 0xc0]));
    check(ints(16, &[0x3f80, 0]), raw(DType::BF16, &[0x80, 0x3f, 0, 0]));
    check(ints(5, &[-2, 7]), raw(DType::I16, &[0xfe, 0xff, 7, 0]));
    check(ints(22, &[0x21]), HostTensor::from_bytes(DType::Other(22), vec![2], vec![0x21].into()).unwrap());
    let longs = proto::TensorProto { data_type: Some(7), int64_data: vec![-5, 6], ..Default::default() };
    check(longs, HostTensor::from_i64(&[2], &[-5, 6]));
    let unsigned = proto::TensorProto { data_type: Some(12), uint64_data: vec![9, 1], ..Default::default() };
    check(unsigned, raw(DType::U32, &[9, 0, 0, 0, 1, 0, 0, 0]));
    let text: Vec<Bytes> = vec!["a".into(), "bc".into()];
    let strings = proto::TensorProto { data_type: Some(8), string_data: text.clone(), ..Default::default() };
    check(strings, HostTensor::from_strings(vec![2], text).unwrap());
}

/// What is wrong with a file, and the words that say so.
#[test]
fn broken_files_are_refused_with_the_place() {
    let check = |break_it: &dyn Fn(&mut proto::GraphProto), expected: &str| {
        let mut file = sample();
        break_it(file.graph.as_mut().unwrap());
        let error = read(file.encode_to_vec()).unwrap_err();
        assert!(error.contains(expected), "\"{error}\" does not say \"{expected}\"");
    };
    check(&|g| g.node[1].input[0] = "nowhere".into(), "reads \"nowhere\", which nothing defines");
    check(&|g| g.node[1].output[0] = "x".into(), "\"x\" is defined twice");
    check(&|g| g.output[0].name = Some("gone".into()), "outputs reads \"gone\"");
    check(&|g| g.initializer[0].dims = vec![3], "cannot be held in 8 bytes");
    check(&|g| g.initializer[0].dims = vec![-2], "negative dimension");
    check(&|g| g.initializer[0].dims = vec![i64::MAX, i64::MAX], "larger than this machine can address");
    check(&|g| g.initializer[0].data_type = None, "no element type");
    check(&|g| g.initializer[0].name = None, "no name");
    check(&|g| g.node[1].op_type = None, "names no operator");
    check(&|g| g.node[1].input[0] = "out".into(), "reads its own result");
    check(&|g| g.initializer[0].data_location = Some(1), "relative path");
    assert!(read(proto::ModelProto::default().encode_to_vec()).unwrap_err().contains("no graph"));
    assert!(read(b"not a model".to_vec()).unwrap_err().contains("not an ONNX model"));
}

struct OneFile(Vec<u8>);

impl ExternalData for OneFile {
    fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
        if location != "data.bin" {
            return Err("the file is missing".to_owned());
        }
        let start = usize::try_from(offset).unwrap().min(self.0.len());
        let end = length.map_or(self.0.len(), |length| (start + length as usize).min(self.0.len()));
        Ok(Bytes::copy_from_slice(&self.0[start..end]))
    }
}

#[test]
fn large_tensors_lie_in_a_second_file() {
    let model = read(sample().encode_to_vec()).unwrap();
    let (first, second) = onnx::write_external(&model, 8, "data.bin").unwrap();
    let again = onnx::read(first.clone().into(), &OneFile(second)).unwrap();
    assert_same(&model, &again);
    let error = onnx::read(first.into(), &OneFile(vec![0; 3])).unwrap_err().to_string();
    assert!(error.contains("\"w\" lies in the external file \"data.bin\""), "{error}");
}

#[test]
fn external_ranges_are_checked() {
    let check = |entries: &[(&str, &str)], expected: &str| {
        let mut file = sample();
        let graph = file.graph.as_mut().unwrap();
        let at = |offset: &str, name: &str| {
            let mut tensor = made::external_f32(name, &[("location", "data.bin"), ("offset", offset)]);
            tensor.dims = vec![2];
            tensor
        };
        graph.initializer.push(at("0", "first"));
        graph.initializer.push(proto::TensorProto { dims: vec![2], ..made::external_f32("second", entries) });
        let result = onnx::read(file.encode_to_vec().into(), &OneFile(vec![0; 16]));
        match (result, expected) {
            (Ok(_), "") => {}
            (Ok(_), expected) => panic!("{entries:?} was read, not refused with \"{expected}\""),
            (Err(error), expected) => {
                let error = error.to_string();
                assert!(!expected.is_empty() && error.contains(expected), "{entries:?}: {error}");
            }
        }
    };
    check(&[("location", "data.bin"), ("offset", "8")], "");
    check(&[("location", "data.bin"), ("offset", "0"), ("length", "8")], "");
    check(&[("location", "data.bin"), ("offset", "4")], "overlap");
    check(&[("location", "data.bin"), ("offset", "12")], "only 4 of its 8 bytes");
    check(&[("location", "data.bin"), ("offset", "18446744073709551615")], "only 0 of its 8 bytes");
    check(&[("location", "data.bin"), ("offset", "8"), ("length", "4")], "its length is 4 bytes");
    check(&[("location", "data.bin"), ("offset", "-1")], "no number");
    check(&[("location", "../data.bin")], "inside the model's folder");
    check(&[("location", "/etc/passwd")], "inside the model's folder");
    check(&[("location", "other.bin")], "the file is missing");
}

#[test]
fn a_replaced_value_is_followed_into_inner_graphs() {
    let mut model = read(sample().encode_to_vec()).unwrap();
    let graph = &model.graph;
    let (x, sum) = (graph.find("x").unwrap(), graph.find("sum").unwrap());
    let mut patch = Patch::new(graph);
    let new = patch.node(OpName::standard("Relu"), "rectified", &[x], []);
    patch.replace(sum, new);
    patch.apply(&mut model.graph).unwrap();
    model.graph.compact();
    verify(&model, "replacing").unwrap();
    let (_, branch) = model.graph.nodes().last().unwrap();
    assert_eq!(branch.captured_names(), ["rectified", "rectified"]);
    assert_eq!(model.graph.find("sum"), None);
    assert_eq!(read(onnx::write(&model).unwrap()).unwrap().graph.node_count(), 2);
}

#[test]
fn an_output_that_becomes_an_input_keeps_both_names() {
    let mut model = read(sample().encode_to_vec()).unwrap();
    let (x, out) = (model.graph.find("x").unwrap(), model.graph.find("out").unwrap());
    let mut patch = Patch::new(&model.graph);
    patch.replace(out, x);
    patch.apply(&mut model.graph).unwrap();
    model.graph.compact();
    verify(&model, "replacing").unwrap();
    let graph = &model.graph;
    assert_eq!(graph.inputs(), [graph.find("x").unwrap()]);
    assert_eq!(graph.outputs(), [graph.find("out").unwrap()]);
    let (_, copy) = graph.nodes().next().unwrap();
    assert_eq!((graph.node_count(), copy.op.name.as_str()), (1, "Identity"));
}

#[test]
fn an_unread_attribute_is_carried() {
    let mut file = sample();
    let opaque = proto::AttributeProto {
        name: Some("types".into()),
        r#type: Some(14),
        type_protos: vec![proto::TypeProto::default()],
        ..Default::default()
    };
    file.graph.as_mut().unwrap().node[1].attribute.push(opaque.clone());
    let model = read(file.encode_to_vec()).unwrap();
    let (_, node) = model.graph.nodes().next().unwrap();
    assert_eq!(node.attributes["types"], Attribute::Opaque(Box::new(opaque)));
    assert_same(&read(onnx::write(&model).unwrap()).unwrap(), &model);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = read(bytes);
    }

    #[test]
    fn a_truncated_file_never_panics(cut in 0usize..4096) {
        let mut bytes = sample().encode_to_vec();
        bytes.truncate(cut % bytes.len());
        let _ = read(bytes);
    }

    /// One byte after another is damaged; what still reads must still verify and write.
    #[test]
    fn a_damaged_file_is_refused_or_whole(places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = sample().encode_to_vec();
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(model) = read(bytes) && verify(&model, "damage").is_ok() {
            prop_assert!(onnx::write(&model).is_ok());
        }
    }
}
