use super::*;
use refit_engine::{Engine, ModelSource, SessionOptions};
use refit_engine_tract::Tract;
use refit_graph::{DType, Dim, onnx};
use refit_passes::lower::portable;
use std::error::Error;

/// Runs the written file in tract.
fn in_tract(model: &Model, feeds: &HashMap<String, Tensor>) -> Vec<f32> {
    let bytes = onnx::write(model).unwrap();
    let mut session = Tract.load(ModelSource::Bytes(&bytes), &SessionOptions { threads: 1 }).unwrap();
    let tensors: Vec<(String, refit_engine::Tensor)> = feeds
        .iter()
        .map(|(name, tensor)| {
            let values = tensor.flatten_all().unwrap().to_vec1().unwrap();
            (name.clone(), refit_engine::Tensor::f32(tensor.dims(), values).unwrap())
        })
        .collect();
    let given: Vec<(&str, &refit_engine::Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let outputs = session.run(&given).unwrap();
    outputs[0].1.as_f32().unwrap().to_vec()
}

/// Lowers, and checks that the file has operators of the standard only and the outputs of the model.
#[track_caller]
fn check(case: &Case) -> Model {
    let model = portable(&case.model).unwrap();
    verify(&model, "the test").unwrap();
    assert!(model.graph.nodes().all(|(_, node)| node.op.domain.is_empty()));
    assert_eq!(model.opset(), 17);
    let expected = run(&case.model, &case.feeds);
    close(&expected, &run(&model, &case.feeds));
    close(&expected, &in_tract(&model, &case.feeds));
    model
}

fn case(opset: i64, make: impl FnOnce(&mut Exporter, ValueId) -> ValueId) -> Case {
    let (mut exporter, inputs) = Exporter::new(opset, &[("x", hidden(6), &[2, 3, 6])]);
    let y = make(&mut exporter, inputs[0]);
    exporter.finish(y)
}

#[test]
fn weights_are_stored_as_products_read_them() {
    let model = check(&case(17, |e, x| {
        let (w, b) = (e.weight("w", &[5, 6]), e.weight("b", &[5]));
        let y = e.refit("Linear", &[x, w, b], [("transB", Attribute::Int(1))]);
        let w2 = e.weight("w2", &[5, 4]);
        e.refit("Linear", &[y, w2], [])
    }));
    let shape =
        |name| model.graph.initializer(model.graph.find(name).unwrap()).unwrap().tensor.shape().to_vec();
    assert_eq!((shape("w"), shape("w2")), (vec![6, 5], vec![5, 4]));
    assert_eq!(operators(&model, ""), ["MatMul", "Add", "MatMul"]);
}

#[test]
fn a_weight_that_others_read_stays_as_it_is() {
    let model = check(&case(17, |e, x| {
        let w = e.weight("w", &[6, 6]);
        let once = e.refit("Linear", &[x, w], [("transB", Attribute::Int(1))]);
        let twice = e.refit("Linear", &[once, w], [("transB", Attribute::Int(1))]);
        e.op("MatMul", &[twice, w])
    }));
    assert_eq!(model.graph.initializers().count(), 2, "one transposed copy, shared");
}

#[test]
fn canonical_operators_have_portable_forms() {
    for approximate in ["none", "tanh"] {
        check(&case(17, |e, x| {
            e.refit("Gelu", &[x], [("approximate", Attribute::String(approximate.into()))])
        }));
    }
    check(&case(17, |e, x| {
        let (gamma, beta) = (e.weight("gamma", &[6]), e.weight("beta", &[6]));
        let x = e.refit("Dropout", &[x], [("ratio", Attribute::Float(0.5))]);
        e.refit("LayerNorm", &[x, gamma, beta], [("epsilon", Attribute::Float(1e-12))])
    }));
    for scale in [None, Some(0.3)] {
        check(&case(17, |e, x| {
            let w = e.weight("w", &[6, 6]);
            let q = e.refit("Linear", &[x, w], []);
            let (mask, bias) = (e.weight("mask", &[2, 1, 1, 3]), e.weight("bias", &[2, 3, 3]));
            let heads = ("num_heads", Attribute::Int(2));
            match scale {
                None => e.refit("Attention", &[q, x, x, mask, bias], [heads]),
                Some(scale) => e.refit("Attention", &[q, x, x], [heads, ("scale", Attribute::Float(scale))]),
            }
        }));
    }
}

#[test]
fn fused_operators_fall_into_their_pieces() {
    check(&case(17, |e, x| {
        let gamma = e.weight("gamma", &[6]);
        e.refit("RmsNorm", &[x, gamma], [("epsilon", Attribute::Float(1e-6))])
    }));
    check(&case(17, |e, x| {
        let (cos, sin) = (e.weight("cos", &[3, 6]), e.weight("sin", &[1, 3, 6]));
        e.refit("Rotary", &[x, cos, sin], [])
    }));
    check(&case(17, |e, x| e.refit("Silu", &[x], [])));
}

#[test]
fn batch_normalization_that_trained_is_served_by_its_running_statistics() {
    let images = Fact::new(DType::F32, [Dim::from("batch"), 3.into(), 6.into()]);
    let (mut e, inputs) = Exporter::new(17, &[("x", images, &[2, 3, 6])]);
    let [scale, bias, mean] = ["scale", "bias", "mean"].map(|name| e.weight(name, &[3]));
    let variance = e.weight("variance", &[3]);
    let variance = e.op("Exp", &[variance]);
    let y = e.op("BatchNormalization", &[inputs[0], scale, bias, mean, variance]);
    let mut case = e.finish(y);
    let expected = run(&case.model, &case.feeds);
    refit_passes::Driver::new().edit(&mut case.model, &refit_passes::edit::BatchStatistics).unwrap();
    assert_eq!(operators(&case.model, "refit"), ["BatchNorm"]);
    close(&expected, &run(&case.model, &case.feeds));
    let model = check(&case);
    assert_eq!(operators(&model, ""), ["Exp", "BatchNormalization"]);
}

#[test]
fn other_opsets_are_brought_to_the_portable_one() {
    let old = check(&case(11, |e, x| {
        let wide = e.op_with("Unsqueeze", &[x], [("axes", Attribute::Ints(vec![1]))]);
        let sum = e.op_with(
            "ReduceSum",
            &[wide],
            [("axes", Attribute::Ints(vec![1])), ("keepdims", Attribute::Int(0))],
        );
        e.op_with("Softmax", &[sum], [("axis", Attribute::Int(2))])
    }));
    assert!(old.graph.nodes().all(|(_, node)| !node.attributes.contains_key("axes")));
    let new = check(&case(18, |e, x| {
        let axes = e.ints(&[-1]);
        e.op("ReduceMean", &[x, axes])
    }));
    assert!(new.graph.nodes().all(|(_, node)| node.inputs.len() == 1));
}

#[test]
fn the_loss_and_its_labels_go() {
    let dims: Vec<Dim> = vec!["batch".into(), 3.into()];
    let labels = Fact::new(DType::I64, ["batch"]);
    let (mut e, inputs) =
        Exporter::new(17, &[("x", Fact::new(DType::F32, dims), &[2, 3]), ("labels", labels, &[2])]);
    let logits = e.op("Relu", &[inputs[0]]);
    let loss = e.refit("SoftmaxCrossEntropy", &[logits, inputs[1]], []);
    e.patch.set_outputs(vec![logits, loss]);
    e.patch.rename(logits, "logits");
    e.patch.apply(&mut e.graph).unwrap();
    let model = portable(&Model::new(e.graph, 17)).unwrap();
    let names =
        |ids: &[ValueId]| ids.iter().map(|id| model.graph.value(*id).name.clone()).collect::<Vec<_>>();
    assert_eq!(names(model.graph.inputs()), ["x"]);
    assert_eq!(names(model.graph.outputs()), ["logits"]);
    let logits = model.graph.fact(model.graph.outputs()[0]);
    assert_eq!(logits.to_string(), "f32[batch, 3]");
}

#[test]
fn what_has_no_portable_form_is_named() {
    let case = case(17, |e, x| {
        e.patch.node(OpName { domain: "com.example".into(), name: "Secret".into() }, "deep inside", &[x], [])
    });
    let error = portable(&case.model).unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("com.example.Secret") && cause.contains("deep inside"), "{cause}");
}
