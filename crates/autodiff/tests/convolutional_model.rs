//! A whole convolutional classifier: loss and every gradient equal PyTorch's, and the running statistics of
//! its batch normalization get none.

use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_graph::{Attribute, DType, Dim, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId};
use serde_json::Value;
use std::collections::HashMap;

/// Difference to PyTorch's float32 gradients, relative to the largest of the same parameter.
const TOLERANCE: f32 = 2e-5;

struct Builder {
    reference: Value,
    patch: Patch,
}

impl Builder {
    fn floats(&self, section: &str, name: &str) -> Vec<f32> {
        floats(&self.reference[section][name])
    }

    fn parameter(&mut self, name: &str) -> ValueId {
        let shape = sizes(&self.reference["shapes"][name]);
        let tensor = HostTensor::from_f32(&shape, &self.floats("parameters", name));
        self.patch.initializer(name, tensor, !name.contains("running"))
    }

    fn node(&mut self, op: &str, inputs: &[ValueId], attributes: &[(&'static str, Attribute)]) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        let attributes = attributes.iter().cloned();
        self.patch.node_with(OpName::standard(op), op, inputs, 1, attributes)[0]
    }

    /// An operator with parameters of this layer.
    fn layer(
        &mut self,
        op: &str,
        x: ValueId,
        names: &[&str],
        attributes: &[(&'static str, Attribute)],
    ) -> ValueId {
        let mut inputs = vec![x];
        inputs.extend(names.iter().map(|name| self.parameter(name)));
        self.node(op, &inputs, attributes)
    }
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().expect("numbers").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().expect("sizes").iter().map(|v| v.as_u64().expect("a size") as usize).collect()
}

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

/// `x`, `labels` -> `loss`, as `tests/reference/cnn_gradients.py` has it.
fn model(reference: Value, batch_norm: &OpName) -> Model {
    let mut graph = Graph::new("cnn");
    let dims: [Dim; 4] = ["batch".into(), 3.into(), 27.into(), 25.into()];
    let x = graph.add_input("x", Fact::new(DType::F32, dims));
    let labels = graph.add_input("labels", Fact::new(DType::I64, ["batch"]));
    let mut net = Builder { reference, patch: Patch::new(&graph) };
    let (one, two, three) = (ints(&[1, 1, 1, 1]), ints(&[2, 2]), ints(&[3, 3]));
    let padded = ints(&[2, 2, 2, 2]);
    let x = net.layer("Conv", x, &["stem.weight"], &[("strides", two.clone()), ("pads", padded.clone())]);
    let norm = ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"];
    let inputs: Vec<_> = std::iter::once(Some(x)).chain(norm.map(|name| Some(net.parameter(name)))).collect();
    let outputs = if batch_norm.is_refit("BatchNorm") { 3 } else { 1 };
    let x = net.patch.node_with(batch_norm.clone(), "norm", inputs, outputs, [])[0];
    let x = net.node("Relu", &[x], &[]);
    let x = net.node("MaxPool", &[x], &[("kernel_shape", three), ("strides", two.clone()), ("pads", one)]);
    let x = net.layer(
        "Conv",
        x,
        &["depthwise.weight", "depthwise.bias"],
        &[("pads", padded), ("dilations", two.clone()), ("group", Attribute::Int(8))],
    );
    let x = net.node("HardSwish", &[x], &[]);
    let x = net.layer(
        "Conv",
        x,
        &["grouped.weight", "grouped.bias"],
        &[("strides", two.clone()), ("group", Attribute::Int(2))],
    );
    let group = [("num_groups", Attribute::Int(3))];
    let x = net.layer("GroupNormalization", x, &["group_norm.weight", "group_norm.bias"], &group);
    let slope = net.parameter("prelu.weight");
    let slope = {
        let shape = net.patch.initializer("slope_shape", HostTensor::from_i64(&[3], &[12, 1, 1]), false);
        net.node("Reshape", &[slope, shape], &[])
    };
    let x = net.node("PRelu", &[x, slope], &[]);
    let up = [("strides", two.clone()), ("output_padding", ints(&[1, 1]))];
    let x = net.layer("ConvTranspose", x, &["up.weight", "up.bias"], &up);
    let x = net.node("Elu", &[x], &[]);
    let x = net.node("AveragePool", &[x], &[("kernel_shape", two)]);
    let x = net.node("GlobalAveragePool", &[x], &[]);
    let x = net.node("Flatten", &[x], &[]);
    let logits = net.layer("Gemm", x, &["head.weight", "head.bias"], &[("transB", Attribute::Int(1))]);
    let loss = net.patch.node(OpName::refit("SoftmaxCrossEntropy"), "loss", &[logits, labels], []);
    net.patch.set_outputs(vec![loss]);
    net.patch.apply(&mut graph).expect("a fresh graph takes its patch");
    Model::new(graph, 21)
}

#[test]
fn loss_and_gradients_equal_pytorch() {
    let reference: Value = serde_json::from_str(include_str!("cnn/reference.json")).expect("a JSON file");
    let model = model(reference.clone(), &OpName::standard("BatchNormalization"));
    let mut program = Program::compile(&model, &["loss"], &Device::Cpu).expect("a program");
    check_step(&mut program, &reference, &reference);
}

#[test]
fn training_by_the_statistics_of_the_batch_equals_pytorch() {
    let reference: Value = serde_json::from_str(include_str!("cnn/reference.json")).expect("a JSON file");
    let train = &reference["train"];
    let mut model = model(reference.clone(), &OpName::refit("BatchNorm"));
    let mut program = Program::compile(&model, &["loss"], &Device::Cpu).expect("a program");
    let evaluated = |program: &Program| {
        let activations = program.forward(&inputs(&reference, 1.0), Mode::Eval).expect("a forward pass");
        activations.output("loss").and_then(|loss| Ok(loss.to_scalar::<f32>()?)).expect("the loss")
    };
    let expected = reference["loss"].as_f64().expect("a loss") as f32;
    assert!((evaluated(&program) - expected).abs() < 1e-5, "evaluating uses the running statistics");
    check_step(&mut program, &reference, train);
    let second = program.forward(&inputs(&reference, 0.5), Mode::Train { seed: 2 }).expect("a forward pass");
    program.update_statistics(&second);
    program.write_back(&mut model).expect("the same model");
    for name in ["running_mean", "running_var"] {
        let id = model.graph.find(&format!("norm.{name}")).expect("a statistic");
        let ours = model.graph.initializer(id).and_then(|i| i.tensor.to_f32()).expect("floats");
        for (a, b) in ours.iter().zip(floats(&train[name])) {
            assert!((a - b).abs() < 1e-5, "{name}: {a}, PyTorch's {b}");
        }
    }
    assert_ne!(evaluated(&program), expected, "evaluating uses the new running statistics");
}

fn inputs(reference: &Value, scale: f32) -> HashMap<String, Tensor> {
    let x = floats(&reference["x"]).into_iter().map(|x| x * scale).collect();
    let x = Tensor::from_vec(x, sizes(&reference["x_shape"]), &Device::Cpu);
    let labels: Vec<i64> = sizes(&reference["labels"]).into_iter().map(|label| label as i64).collect();
    let labels = Tensor::from_vec(labels, 3, &Device::Cpu).expect("three labels");
    HashMap::from([("x".to_owned(), x.expect("three images")), ("labels".to_owned(), labels)])
}

/// One step forwards and backwards: its loss and gradients are those of `expected`.
fn check_step(program: &mut Program, reference: &Value, expected: &Value) {
    let activations =
        program.forward(&inputs(reference, 1.0), Mode::Train { seed: 1 }).expect("a forward pass");
    program.update_statistics(&activations);
    let loss = activations.output("loss").expect("the loss").clone();
    let value: f32 = loss.to_scalar().expect("a scalar");
    let theirs = expected["loss"].as_f64().expect("a loss") as f32;
    assert!((value - theirs).abs() < 1e-5, "loss {value}, PyTorch's {theirs}");
    let one = HashMap::from([("loss".to_owned(), loss.ones_like().expect("a scalar"))]);
    let gradients = program.backward(activations, one).expect("a reverse pass");
    assert_eq!(program.missing_gradients(&gradients), Vec::<String>::new());
    assert_eq!(program.parameters().len(), expected["gradients"].as_object().expect("a table").len());
    for parameter in program.parameters() {
        let ours = gradients.get(parameter.id).expect("none is missing").values();
        let ours: Vec<f32> = ours.flatten_all().and_then(|t| t.to_vec1()).expect("float32");
        let theirs = floats(&expected["gradients"][&parameter.name]);
        assert_eq!(ours.len(), theirs.len(), "{}", parameter.name);
        let largest = theirs.iter().fold(0f32, |largest, g| largest.max(g.abs()));
        for (index, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!((a - b).abs() < TOLERANCE * largest, "{}[{index}]: {a}, PyTorch's {b}", parameter.name);
        }
    }
}
