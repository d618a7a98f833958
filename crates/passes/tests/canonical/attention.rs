use super::*;

/// How an exporter writes attention over `[2, 5, 6]` with two heads of three.
#[derive(Clone, Copy)]
struct Form {
    /// Reshape targets put together from the input's shape at run time, or constants.
    dynamic: bool,
    /// The scale on queries and keys instead of on the scores.
    scale_first: bool,
    /// Keys transposed twice.
    two_transposes: bool,
    mask: bool,
}

const TORCH: Form = Form { dynamic: true, scale_first: false, two_transposes: false, mask: true };

fn perm(order: [i64; 4]) -> [(&'static str, Attribute); 1] {
    [("perm", Attribute::Ints(order.to_vec()))]
}

/// `[batch of x, sequence of x, rest..]`
fn target(e: &mut Exporter, form: Form, x: ValueId, rest: &[i64]) -> ValueId {
    if !form.dynamic {
        return e.ints(&[&[0, -1], rest].concat());
    }
    let shape = e.op("Shape", &[x]);
    let mut parts = Vec::new();
    for axis in [0, 1] {
        let index = e.patch.initializer("index", HostTensor::from_i64(&[], &[axis]), false);
        let size = e.op("Gather", &[shape, index]);
        let zero = e.ints(&[0]);
        parts.push(e.op("Unsqueeze", &[size, zero]));
    }
    for size in rest {
        parts.push(e.ints(&[*size]));
    }
    e.op_with("Concat", &parts, [("axis", Attribute::Int(0))])
}

fn scaled(e: &mut Exporter, x: ValueId) -> ValueId {
    let root = e.float(3f32.powf(-0.25));
    e.op("Mul", &[x, root])
}

fn export(form: Form) -> Case {
    let mask = Fact::new(
        refit_graph::DType::F32,
        ["batch".into(), 1.into(), 1.into(), refit_graph::Dim::from("sequence")],
    );
    let inputs: [(&str, Fact, &[usize]); 4] = [
        ("q", hidden(6), &[2, 5, 6]),
        ("k", hidden(6), &[2, 5, 6]),
        ("v", hidden(6), &[2, 5, 6]),
        ("mask", mask, &[2, 1, 1, 5]),
    ];
    let (mut e, ids) = Exporter::new(17, if form.mask { &inputs } else { &inputs[..3] });
    let e = &mut e;
    let mut split = |x: ValueId| {
        let target = target(e, form, x, &[2, 3]);
        e.op("Reshape", &[x, target])
    };
    let (q, k, v) = (split(ids[0]), split(ids[1]), split(ids[2]));
    let mut q = e.op_with("Transpose", &[q], perm([0, 2, 1, 3]));
    let mut k = if form.two_transposes {
        let by_head = e.op_with("Transpose", &[k], perm([0, 2, 1, 3]));
        e.op_with("Transpose", &[by_head], perm([0, 1, 3, 2]))
    } else {
        e.op_with("Transpose", &[k], perm([0, 2, 3, 1]))
    };
    let v = e.op_with("Transpose", &[v], perm([0, 2, 1, 3]));
    if form.scale_first {
        (q, k) = (scaled(e, q), scaled(e, k));
    }
    let mut scores = e.op("MatMul", &[q, k]);
    if !form.scale_first {
        let root = e.float(3f32.sqrt());
        scores = e.op("Div", &[scores, root]);
    }
    if form.mask {
        scores = e.op("Add", &[scores, ids[3]]);
    }
    let weights = e.op_with("Softmax", &[scores], [("axis", Attribute::Int(-1))]);
    let mixed = e.op("MatMul", &[weights, v]);
    let mixed = e.op_with("Transpose", &[mixed], perm([0, 2, 1, 3]));
    let target = target(e, form, mixed, &[6]);
    let y = e.op("Reshape", &[mixed, target]);
    let exporter = std::mem::replace(e, Exporter::new(17, &[]).0);
    exporter.finish(y)
}

#[track_caller]
fn is_one_attention(form: Form) {
    let model = export(form).becomes(&["Attention"]);
    assert_eq!(model.graph.node_count(), 1);
    let (_, node) = model.graph.nodes().next().unwrap();
    assert_eq!(node.int("num_heads"), Some(2));
    assert!((node.float("scale").unwrap() - 3f32.powf(-0.5)).abs() < 1e-6);
    assert_eq!(node.inputs.len(), if form.mask { 4 } else { 3 });
}

#[test]
fn attention_as_pytorch_exports_it() {
    is_one_attention(TORCH);
    is_one_attention(Form { dynamic: false, ..TORCH });
    is_one_attention(Form { mask: false, ..TORCH });
    is_one_attention(Form { two_transposes: true, ..TORCH });
}

#[test]
fn scaled_dot_product_attention_as_pytorch_exports_it() {
    is_one_attention(Form { scale_first: true, two_transposes: true, ..TORCH });
    is_one_attention(Form { scale_first: true, mask: false, ..TORCH });
}

#[test]
fn attention_over_other_axes_stays() {
    let case = export(TORCH);
    let mut model = case.model.clone();
    let (id, node) = model.graph.nodes().rev().find(|(_, node)| node.op.is("Transpose")).unwrap();
    let mut patch = Patch::new(&model.graph);
    let same =
        patch.node(OpName::standard("Transpose"), "other", &[node.input(0).unwrap()], perm([0, 1, 2, 3]));
    patch.replace(node.output(0).unwrap(), same);
    patch.remove(id);
    patch.apply(&mut model.graph).unwrap();
    canonicalize(&mut model).unwrap();
    assert!(operators(&model, "refit").is_empty());
}
