//! Some steps of training with everything that a step can have, against PyTorch: `tests/reference/optimizer.py`
//! makes the numbers.

use crate::averaging::Average;
use crate::mixup::AddMixup;
use crate::optimizer::{AdamW, global_norm};
use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_graph::{Attribute, DType, Dim, Fact, Graph, HostTensor, Model, OpName, Patch};
use refit_passes::Driver;
use serde_json::Value;
use std::collections::HashMap;

/// Relative to the largest value of a tensor: float32, some tens of steps.
const TOLERANCE: f64 = 2e-5;

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
}

fn integers(value: &Value) -> Vec<i64> {
    value.as_array().expect("a list").iter().map(|x| x.as_i64().expect("a number")).collect()
}

/// The perceptron of the script, with the loss of single-label classification and the blend.
fn network(reference: &Value, smoothing: f32) -> Model {
    let graph = Graph::new("perceptron");
    let mut model = Model::new(graph, 21);
    let mut patch = Patch::new(&model.graph);
    let batch = || Dim::Symbol("batch".to_owned());
    let mut value = patch.input("x", Fact::new(DType::F32, [batch(), 5.into()]));
    for name in ["embeddings", "layer.0", "layer.1", "classifier"] {
        let mut parameter = |end: &str| {
            let name = format!("{name}.{end}");
            let shape: Vec<usize> =
                integers(&reference["shapes"][&name]).into_iter().map(|axis| axis as usize).collect();
            let tensor = HostTensor::from_f32(&shape, &floats(&reference["start"][&name]));
            patch.initializer(&name, tensor, true)
        };
        let (weight, bias) = (parameter("weight"), parameter("bias"));
        let transposed = [("transB", Attribute::Int(1))];
        value = patch.node(OpName::refit("Linear"), name, &[value, weight, bias], transposed);
        if name != "classifier" {
            value = patch.node(OpName::standard("Tanh"), "tanh", &[value], []);
        }
        match name {
            "layer.1" => patch.rename(value, "embedding"),
            "classifier" => patch.rename(value, "logits"),
            _ => {}
        }
    }
    let labels = patch.input("labels", Fact::new(DType::I64, [batch()]));
    let smoothing = [("label_smoothing", Attribute::Float(smoothing))];
    let loss = patch.node(OpName::refit("SoftmaxCrossEntropy"), "loss", &[value, labels], smoothing);
    patch.set_outputs(vec![loss, value]);
    patch.apply(&mut model.graph).expect("the graph is sound");
    Driver::new().edit(&mut model, &AddMixup).expect("there is an embedding");
    model
}

#[track_caller]
fn check(what: &str, found: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(1e-3, |most: f64, value| most.max(f64::from(value.abs())));
    for (found, expected) in found.iter().zip(expected) {
        let difference = f64::from(found - expected).abs();
        assert!(difference <= TOLERANCE * scale, "{what}: {found} instead of {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

fn weights(program: &Program) -> HashMap<String, Vec<f32>> {
    let value = |id| program.parameter(id).expect("a parameter").flatten_all().expect("flat").to_vec1();
    program.parameters().iter().map(|p| (p.name.clone(), value(p.id).expect("floats"))).collect()
}

#[test]
fn losses_norms_weights_and_average_are_those_of_pytorch() {
    let reference: Value =
        serde_json::from_str(include_str!("../tests/data/optimizer.json")).expect("reference numbers");
    let setting = |name: &str| reference["settings"][name].as_f64().expect("a setting");
    let device = Device::Cpu;
    let model = network(&reference, setting("smoothing") as f32);
    let mut program = Program::compile(&model, &["loss", "logits"], &device).expect("it compiles");
    let mut optimizer = AdamW::new(&program, setting("weight_decay"))
        .expect("memory")
        .with_layer_decay(&model.graph, setting("layer_decay"));
    let mut average = Average::new(setting("kept"));
    let batches = reference["batches"].as_array().expect("batches");
    assert!(batches.iter().any(|batch| batch["weight"].as_f64() < Some(1.0)), "some batches are blended");
    for (step, batch) in batches.iter().enumerate() {
        let inputs = HashMap::from([
            ("x".to_owned(), Tensor::from_vec(floats(&batch["x"]), (8, 5), &device).unwrap()),
            ("labels".to_owned(), Tensor::new(integers(&batch["y"]), &device).unwrap()),
            ("mixup_partner".to_owned(), Tensor::new(integers(&batch["partner"]), &device).unwrap()),
            (
                "mixup_weight".to_owned(),
                Tensor::new(batch["weight"].as_f64().unwrap() as f32, &device).unwrap(),
            ),
        ]);
        let forward = program.forward(&inputs, Mode::Train { seed: 0 }).unwrap();
        let loss = forward.output("loss").unwrap().to_scalar::<f32>().unwrap();
        check(&format!("loss of step {step}"), &[loss], &[floats(&reference["losses"])[step]]);
        let one = HashMap::from([("loss".to_owned(), Tensor::new(1f32, &device).unwrap())]);
        let gradients = program.backward(forward, one).unwrap();
        let norm = global_norm(&gradients).unwrap();
        check(&format!("norm of step {step}"), &[norm as f32], &[floats(&reference["norms"])[step]]);
        // PyTorch adds 1e-6 to the norm that it divides by.
        let scale = (setting("clip") / (norm + 1e-6)).min(1.0) as f32;
        optimizer.step(&mut program, &gradients, batch["rate"].as_f64().unwrap(), scale).unwrap();
        average.update(&mut program).unwrap();
    }
    for (name, found) in weights(&program) {
        check(&name, &found, &floats(&reference["weights"][&name]));
    }
    let last = weights(&program);
    average.swap(&mut program).unwrap();
    for (name, found) in weights(&program) {
        check(&format!("average of {name}"), &found, &floats(&reference["average"][&name]));
    }
    average.swap(&mut program).unwrap();
    assert_eq!(last, weights(&program), "the second exchange brings the same bits back");
}

#[test]
fn a_weight_of_one_blends_nothing() {
    let reference: Value =
        serde_json::from_str(include_str!("../tests/data/optimizer.json")).expect("reference numbers");
    let mut plain = network(&reference, 0.1);
    let blended = plain.clone();
    let device = Device::Cpu;
    let batch = &reference["batches"][0];
    let mut inputs = HashMap::from([
        ("x".to_owned(), Tensor::from_vec(floats(&batch["x"]), (8, 5), &device).unwrap()),
        ("labels".to_owned(), Tensor::new(integers(&batch["y"]), &device).unwrap()),
    ]);
    let own = plain.graph.find("mixup.own_loss").expect("the loss without the blend");
    let embedding = plain.graph.find("embedding").expect("an embedding");
    let mut patch = Patch::new(&plain.graph);
    patch.set_outputs(vec![own, embedding]);
    patch.apply(&mut plain.graph).unwrap();
    let run = |model: &Model, output: &str, inputs: &HashMap<String, Tensor>| {
        let program = Program::compile(model, &[output], &device).unwrap();
        let inputs = inputs.iter().filter(|(name, _)| program.inputs().any(|i| i == *name));
        let inputs = inputs.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        let forward = program.forward(&inputs, Mode::Eval).unwrap();
        forward.output(output).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let program = Program::compile(&blended, &["loss"], &device).unwrap();
    crate::mixup::unmixed(&program, 8, &mut inputs).unwrap();
    assert_eq!(run(&blended, "loss", &inputs), run(&plain, "mixup.own_loss", &inputs));
}
