//! Shape arithmetic as exporters write it keeps its meaning with symbolic sizes.

use refit_graph::{Attribute, DType, Dim, Fact, Graph, HostTensor, Model, OpName, Patch, ValueId};
use refit_ops::infer_facts;

/// Builds a graph over `x` (float32 [batch, sequence, 12]) and gives the inferred fact of its output.
fn inferred(build: impl FnOnce(&mut Patch, ValueId) -> ValueId) -> String {
    let mut graph = Graph::new("shapes");
    let dims: [Dim; 3] = ["batch".into(), "sequence".into(), 12.into()];
    let x = graph.add_input("x", Fact::new(DType::F32, dims));
    let mut patch = Patch::new(&graph);
    let output = build(&mut patch, x);
    patch.set_outputs(vec![output]);
    patch.apply(&mut graph).expect("a fresh graph takes its patch");
    let mut model = Model::new(graph, 17);
    infer_facts(&mut model).expect("nothing is wrong with it");
    model.graph.fact(model.graph.outputs()[0]).to_string()
}

fn node(patch: &mut Patch, op: &str, inputs: &[ValueId]) -> ValueId {
    patch.node(OpName::standard(op), op, inputs, [])
}

fn integers(patch: &mut Patch, shape: &[usize], values: &[i64]) -> ValueId {
    patch.initializer("integers", HostTensor::from_i64(shape, values), false)
}

/// `[size]` of one dimension of `x`.
fn size(patch: &mut Patch, x: ValueId, axis: i64) -> ValueId {
    let shape = node(patch, "Shape", &[x]);
    let index = integers(patch, &[], &[axis]);
    let size = node(patch, "Gather", &[shape, index]);
    let front = integers(patch, &[1], &[0]);
    node(patch, "Unsqueeze", &[size, front])
}

fn concat(patch: &mut Patch, parts: &[ValueId]) -> ValueId {
    patch.node(OpName::standard("Concat"), "Concat", parts, [("axis", Attribute::Int(0))])
}

#[test]
fn splitting_heads() {
    let fact = inferred(|patch, x| {
        let (batch, sequence) = (size(patch, x, 0), size(patch, x, 1));
        let heads = integers(patch, &[2], &[3, -1]);
        let shape = concat(patch, &[batch, sequence, heads]);
        node(patch, "Reshape", &[x, shape])
    });
    assert_eq!(fact, "f32[batch, sequence, 3, 4]");
}

#[test]
fn flattening_rows() {
    let fact = inferred(|patch, x| {
        let shape = integers(patch, &[2], &[-1, 12]);
        let rows = node(patch, "Reshape", &[x, shape]);
        let (batch, sequence) = (size(patch, x, 0), size(patch, x, 1));
        let width = integers(patch, &[1], &[12]);
        let shape = concat(patch, &[batch, sequence, width]);
        node(patch, "Reshape", &[rows, shape])
    });
    assert_eq!(fact, "f32[batch, sequence, 12]");
}

#[test]
fn expanding_with_minus_one_as_a_placeholder() {
    let fact = inferred(|patch, x| {
        let (batch, sequence) = (size(patch, x, 0), size(patch, x, 1));
        let target = concat(patch, &[batch, sequence]);
        let open = integers(patch, &[2], &[-1, -1]);
        let ones = integers(patch, &[2], &[1, 1]);
        let is_open = node(patch, "Equal", &[target, open]);
        let target = node(patch, "Where", &[is_open, ones, target]);
        let row = integers(patch, &[1, 1], &[7]);
        node(patch, "Expand", &[row, target])
    });
    assert_eq!(fact, "i64[batch, sequence]");
}

#[test]
fn cutting_a_table_to_the_sequence() {
    let fact = inferred(|patch, x| {
        let table = integers(patch, &[1, 16], &[0; 16]);
        let (start, end, axis) =
            (integers(patch, &[1], &[0]), size(patch, x, 1), integers(patch, &[1], &[1]));
        node(patch, "Slice", &[table, start, end, axis])
    });
    assert_eq!(fact, "i64[1, sequence]");
}

#[test]
fn a_named_batch_and_length_go_through_a_convolution() {
    let fact = inferred(|patch, x| {
        let turned =
            patch.node(OpName::standard("Transpose"), "t", &[x], [("perm", Attribute::Ints(vec![0, 2, 1]))]);
        let weight =
            patch.initializer("weight", HostTensor::from_f32(&[7, 12, 3], &[0.0; 7 * 12 * 3]), false);
        let same = [("pads", Attribute::Ints(vec![1, 1]))];
        let y = patch.node(OpName::standard("Conv"), "same", &[turned, weight], same);
        let kernel = [("kernel_shape", Attribute::Ints(vec![3])), ("pads", Attribute::Ints(vec![0, 2]))];
        patch.node(OpName::standard("MaxPool"), "pool", &[y], kernel)
    });
    assert_eq!(fact, "f32[batch, 7, sequence]");
}

#[test]
fn a_stride_leaves_a_named_length_open() {
    let fact = inferred(|patch, x| {
        let turned =
            patch.node(OpName::standard("Transpose"), "t", &[x], [("perm", Attribute::Ints(vec![0, 2, 1]))]);
        let weight =
            patch.initializer("weight", HostTensor::from_f32(&[7, 12, 3], &[0.0; 7 * 12 * 3]), false);
        let strides = [("strides", Attribute::Ints(vec![2]))];
        patch.node(OpName::standard("Conv"), "strided", &[turned, weight], strides)
    });
    assert_eq!(fact, "f32[batch, 7, ?]");
}

#[test]
fn scores_of_an_einsum() {
    let fact = inferred(|patch, x| {
        let equation = Attribute::String(b"bid,bjd->bij".as_slice().into());
        patch.node(OpName::standard("Einsum"), "scores", &[x, x], [("equation", equation)])
    });
    assert_eq!(fact, "f32[batch, sequence, sequence]");
}

#[test]
fn repeating_and_choosing_keep_the_other_names() {
    let fact = inferred(|patch, x| {
        let repeats = integers(patch, &[3], &[1, 1, 2]);
        let tiled = node(patch, "Tile", &[x, repeats]);
        let k = integers(patch, &[1], &[5]);
        let best = node(patch, "TopK", &[tiled, k]);
        let pads = integers(patch, &[6], &[0, 0, 1, 0, 0, 2]);
        node(patch, "Pad", &[best, pads])
    });
    assert_eq!(fact, "f32[batch, sequence, 8]");
}

#[test]
fn a_wrong_shape_is_an_error_that_names_the_node() {
    let mut graph = Graph::new("shapes");
    let x = graph.add_input("x", Fact::new(DType::F32, [2, 3]));
    let mut patch = Patch::new(&graph);
    let weight = patch.initializer("weight", HostTensor::from_f32(&[4, 1], &[0.0; 4]), false);
    let output = patch.node(OpName::standard("MatMul"), "product", &[x, weight], []);
    patch.set_outputs(vec![output]);
    patch.apply(&mut graph).expect("a fresh graph takes its patch");
    let error = infer_facts(&mut Model::new(graph, 17)).expect_err("3 columns cannot meet 4 rows");
    assert!(error.to_string().contains("product"), "{error}");
}
