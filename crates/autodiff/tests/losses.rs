//! The losses of tasks and their gradients equal PyTorch's (tests/reference/losses.py).

use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_graph::{Attribute, DType, Fact, Graph, HostTensor, Model, OpName, Patch};
use serde_json::Value;
use std::collections::HashMap;

const TOLERANCE: f32 = 2e-6;

fn floats(values: &Value) -> Vec<f32> {
    let numbers = values.as_array().expect("a list").iter();
    numbers.map(|value| value.as_f64().expect("a number") as f32).collect()
}

fn shape(input: &Value) -> Vec<usize> {
    let axes = input["shape"].as_array().expect("a shape").iter();
    axes.map(|axis| axis.as_u64().expect("a length") as usize).collect()
}

/// One parameter, one input, one operator.
fn model(case: &Value) -> Model {
    let (first, second) = (&case["inputs"][0], &case["inputs"][1]);
    let mut graph = Graph::new("loss");
    let dtype = if second["integer"] == true { DType::I64 } else { DType::F32 };
    let labels = graph.add_input("labels", Fact::new(dtype, shape(second)));
    let mut patch = Patch::new(&graph);
    let values = HostTensor::from_f32(&shape(first), &floats(&first["values"]));
    let logits = patch.initializer("logits", values, true);
    let given = case["attributes"].as_object().expect("attributes");
    let attributes = ["delta", "label_smoothing"]
        .into_iter()
        .filter_map(|name| Some((name, Attribute::Float(given.get(name)?.as_f64()? as f32))));
    let op = OpName::refit(case["name"].as_str().expect("a name"));
    let loss = patch.node(op, "loss", &[logits, labels], attributes);
    patch.rename(loss, "loss");
    patch.set_outputs(vec![loss]);
    patch.apply(&mut graph).expect("the patch fits");
    Model::new(graph, 20)
}

#[test]
fn losses_and_gradients_equal_pytorch() {
    let cases: Value = serde_json::from_str(include_str!("losses.json")).expect("a JSON file");
    for case in cases.as_array().expect("cases") {
        let name = format!("{} {}", case["name"], case["attributes"]);
        let program = Program::compile(&model(case), &["loss"], &Device::Cpu).expect("a program");
        let second = &case["inputs"][1];
        let labels = if second["integer"] == true {
            let values = floats(&second["values"]).into_iter().map(|value| value as i64).collect::<Vec<_>>();
            Tensor::from_vec(values, shape(second), &Device::Cpu)
        } else {
            Tensor::from_vec(floats(&second["values"]), shape(second), &Device::Cpu)
        };
        let inputs = HashMap::from([("labels".to_owned(), labels.expect("a tensor"))]);
        let forward = program.forward(&inputs, Mode::Train { seed: 1 }).expect("a forward pass");
        let loss = forward.output("loss").expect("the loss").clone();
        let value: f32 = loss.to_scalar().expect("a scalar");
        let expected = case["loss"].as_f64().expect("a loss") as f32;
        assert!(
            (value - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
            "{name}: {value}, {expected}"
        );
        let seed = HashMap::from([("loss".to_owned(), loss.ones_like().expect("a scalar"))]);
        let gradients = program.backward(forward, seed).expect("a reverse pass");
        let parameter = program.parameters()[0].id;
        let found = gradients
            .get(parameter)
            .expect("a gradient")
            .values()
            .flatten_all()
            .and_then(|g| g.to_vec1::<f32>());
        let (found, expected) = (found.expect("float32"), floats(&case["gradient"]));
        assert_eq!(found.len(), expected.len(), "{name}");
        for (place, (ours, theirs)) in found.iter().zip(&expected).enumerate() {
            assert!((ours - theirs).abs() <= TOLERANCE, "{name}[{place}]: {ours}, PyTorch's {theirs}");
        }
    }
}
