//! Where a function has a kink, its gradient is a choice: it is PyTorch's (2.15, `torch.nn.functional` and
//! `torch.*` as named beside each case).

use candle_core::{DType, Device, Tensor};
use refit_graph::{Attribute, Graph, Model, OpName, Patch};
use refit_ops::kernels::slices;
use refit_ops::{Backward, NEWEST_OPSET, Site, find};

/// The gradients of the inputs, where that of the output is 1 everywhere: the same by the kernels and without.
fn gradients(op: &str, inputs: &[Tensor], attributes: &[(&'static str, Attribute)]) -> Vec<Vec<f32>> {
    let made = one_way(op, inputs, attributes);
    let on_device = slices::without_kernels(|| one_way(op, inputs, attributes));
    assert_eq!(made, on_device, "{op} by the kernels and without");
    made
}

fn one_way(op: &str, inputs: &[Tensor], attributes: &[(&'static str, Attribute)]) -> Vec<Vec<f32>> {
    let mut graph = Graph::new("kink");
    let mut patch = Patch::new(&graph);
    let ids: Vec<_> = inputs.iter().map(|_| patch.input("x", refit_graph::Fact::default())).collect();
    let y = patch.node(OpName::standard(op), op, &ids, attributes.iter().cloned());
    patch.set_outputs(vec![y]);
    patch.apply(&mut graph).expect("a fresh graph takes its patch");
    let model = Model::new(graph, NEWEST_OPSET);
    let node = model.graph.nodes().next().expect("one node").1;
    let operator = find(&node.op, NEWEST_OPSET).expect("a known operator");
    let site = Site::new(node, NEWEST_OPSET);
    let inputs: Vec<Option<Tensor>> = inputs.iter().cloned().map(Some).collect();
    let outputs: Vec<Option<Tensor>> =
        operator.forward(&site, &inputs).expect("it runs").into_iter().map(Some).collect();
    let ones = outputs[0].as_ref().and_then(|y| y.ones_like().ok());
    let shapes: Vec<Vec<usize>> = inputs.iter().flatten().map(|x| x.dims().to_vec()).collect();
    let types: Vec<DType> = inputs.iter().flatten().map(Tensor::dtype).collect();
    let wanted: Vec<bool> = inputs.iter().flatten().map(|x| x.dtype().is_float()).collect();
    let back = Backward {
        inputs: &inputs,
        input_shapes: &shapes,
        input_types: &types,
        outputs: &outputs,
        gradients: &[ones],
        wanted: &wanted,
    };
    let made = operator.vjp(&site, &back).expect("a reverse rule");
    made.into_iter().flatten().map(|g| g.flatten_all().and_then(|g| g.to_vec1()).expect("floats")).collect()
}

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).expect("the sizes fit")
}

#[test]
fn the_first_of_equal_largest_elements_of_a_window_has_the_gradient() {
    let x = tensor(&[1, 1, 4], &[2.0, 2.0, 1.0, 1.0]);
    let windows = [("kernel_shape", Attribute::Ints(vec![2])), ("strides", Attribute::Ints(vec![2]))];
    assert_eq!(gradients("MaxPool", &[x], &windows), [[1.0, 0.0, 1.0, 0.0]], "max_pool1d");
    let x = tensor(&[1, 1, 4], &[1.0, 2.0, 0.0, 2.0]);
    assert_eq!(gradients("GlobalMaxPool", &[x], &[]), [[0.0, 1.0, 0.0, 0.0]], "adaptive_max_pool1d");
}

#[test]
fn equal_extremes_share_the_gradient() {
    let x = tensor(&[4], &[1.0, 2.0, 0.0, 2.0]);
    assert_eq!(gradients("ReduceMax", &[x], &[]), [[0.0, 0.5, 0.0, 0.5]], "amax");
    let (a, b) = (tensor(&[2], &[1.0, 3.0]), tensor(&[2], &[1.0, 2.0]));
    assert_eq!(gradients("Max", &[a, b], &[]), [[0.5, 1.0], [0.5, 0.0]], "maximum");
}

#[test]
fn kinks_have_the_slope_of_pytorch() {
    let zero = || tensor(&[1], &[0.0]);
    assert_eq!(gradients("Relu", &[zero()], &[]), [[0.0]], "relu");
    assert_eq!(gradients("Abs", &[zero()], &[]), [[0.0]], "abs");
    assert_eq!(gradients("LeakyRelu", &[zero()], &[]), [[0.01]], "leaky_relu");
    let bounds = [zero(), tensor(&[], &[0.0]), tensor(&[], &[1.0])];
    assert_eq!(gradients("Clip", &bounds, &[])[0], [0.0], "clamp");
}
