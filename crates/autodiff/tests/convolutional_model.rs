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
fn model(reference: Value) -> Model {
    let mut graph = Graph::new("cnn");
    let dims: [Dim; 4] = ["batch".into(), 3.into(), 27.into(), 25.into()];
    let x = graph.add_input("x", Fact::new(DType::F32, dims));
    let labels = graph.add_input("labels", Fact::new(DType::I64, ["batch"]));
    let mut net = Builder { reference, patch: Patch::new(&graph) };
    let (one, two, three) = (ints(&[1, 1, 1, 1]), ints(&[2, 2]), ints(&[3, 3]));
    let padded = ints(&[2, 2, 2, 2]);
    let x = net.layer("Conv", x, &["stem.weight"], &[("strides", two.clone()), ("pads", padded.clone())]);
    let norm = ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"];
    let x = net.layer("BatchNormalization", x, &norm, &[]);
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
    let program = Program::compile(&model(reference.clone()), &["loss"], &Device::Cpu).expect("a program");
    let x = Tensor::from_vec(floats(&reference["x"]), sizes(&reference["x_shape"]), &Device::Cpu);
    let labels: Vec<i64> = sizes(&reference["labels"]).into_iter().map(|label| label as i64).collect();
    let labels = Tensor::from_vec(labels, 3, &Device::Cpu).expect("three labels");
    let inputs = HashMap::from([("x".to_owned(), x.expect("three images")), ("labels".to_owned(), labels)]);
    let activations = program.forward(&inputs, Mode::Train { seed: 1 }).expect("a forward pass");
    let loss = activations.output("loss").expect("the loss").clone();
    let value: f32 = loss.to_scalar().expect("a scalar");
    let expected = reference["loss"].as_f64().expect("a loss") as f32;
    assert!((value - expected).abs() < 1e-5, "loss {value}, PyTorch's {expected}");
    let one = HashMap::from([("loss".to_owned(), loss.ones_like().expect("a scalar"))]);
    let gradients = program.backward(activations, one).expect("a reverse pass");
    assert_eq!(program.missing_gradients(&gradients), Vec::<String>::new());
    assert_eq!(program.parameters().len(), reference["gradients"].as_object().expect("a table").len());
    for parameter in program.parameters() {
        let ours = gradients.get(parameter.id).expect("none is missing");
        let ours: Vec<f32> = ours.flatten_all().and_then(|t| t.to_vec1()).expect("float32");
        let theirs = floats(&reference["gradients"][&parameter.name]);
        assert_eq!(ours.len(), theirs.len(), "{}", parameter.name);
        let largest = theirs.iter().fold(0f32, |largest, g| largest.max(g.abs()));
        for (index, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!((a - b).abs() < TOLERANCE * largest, "{}[{index}]: {a}, PyTorch's {b}", parameter.name);
        }
    }
}
