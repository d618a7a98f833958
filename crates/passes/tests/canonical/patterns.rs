use super::*;

const X: [usize; 3] = [2, 3, 4];

fn case(opset: i64, make: impl FnOnce(&mut Exporter, ValueId) -> ValueId) -> Case {
    let (mut exporter, inputs) = Exporter::new(opset, &[("x", hidden(4), &X)]);
    let y = make(&mut exporter, inputs[0]);
    exporter.finish(y)
}

#[test]
fn products_with_a_weight_become_linear() {
    let with_bias = |bias_first: bool| {
        case(17, |e, x| {
            let (w, b) = (e.weight("w", &[4, 5]), e.weight("b", &[5]));
            let product = e.op("MatMul", &[x, w]);
            e.op("Add", &if bias_first { [b, product] } else { [product, b] })
        })
    };
    let model = with_bias(false).becomes(&["Linear"]);
    assert_eq!(model.graph.node_count(), 1);
    assert!(model.graph.find("w").is_some_and(|w| model.graph.initializer(w).is_some()), "names are kept");
    assert_eq!(with_bias(true).becomes(&["Linear"]).graph.node_count(), 1);
    let without_bias = case(17, |e, x| {
        let w = e.weight("w", &[4, 5]);
        e.op("MatMul", &[x, w])
    });
    without_bias.becomes(&["Linear"]);
}

#[test]
fn a_product_that_others_read_keeps_its_bias_apart() {
    let shared = case(17, |e, x| {
        let (w, b) = (e.weight("w", &[4, 5]), e.weight("b", &[5]));
        let product = e.op("MatMul", &[x, w]);
        let sum = e.op("Add", &[product, b]);
        e.op("Mul", &[sum, product])
    });
    let model = shared.becomes(&["Linear"]);
    assert_eq!(operators(&model, ""), ["Add", "Mul"]);
    let matrix_bias = case(17, |e, x| {
        let (w, b) = (e.weight("w", &[4, 5]), e.weight("b", &[3, 5]));
        let product = e.op("MatMul", &[x, w]);
        e.op("Add", &[product, b])
    });
    assert_eq!(operators(&matrix_bias.becomes(&["Linear"]), ""), ["Add"]);
}

fn gemm(attributes: [(&'static str, Attribute); 2], weight: [usize; 2]) -> Case {
    let x = Fact::new(refit_graph::DType::F32, ["batch".into(), refit_graph::Dim::from(4)]);
    let (mut e, inputs) = Exporter::new(13, &[("x", x, &[2, 4])]);
    let (w, b) = (e.weight("w", &weight), e.weight("b", &[5]));
    let y = e.op_with("Gemm", &[inputs[0], w, b], attributes);
    e.finish(y)
}

#[test]
fn gemm_becomes_linear_where_it_only_adds() {
    let attributes = |name, value| [("transB", Attribute::Int(1)), (name, value)];
    gemm(attributes("beta", Attribute::Float(1.0)), [5, 4]).becomes(&["Linear"]);
    gemm([("transB", Attribute::Int(0)), ("transA", Attribute::Int(0))], [4, 5]).becomes(&["Linear"]);
    gemm(attributes("alpha", Attribute::Float(0.5)), [5, 4]).becomes(&[]);
}

#[test]
fn layer_norm_is_recognised_as_operator_and_in_pieces() {
    let operator = case(17, |e, x| {
        let (gamma, beta) = (e.weight("gamma", &[4]), e.weight("beta", &[4]));
        e.op_with("LayerNormalization", &[x, gamma, beta], [("epsilon", Attribute::Float(1e-3))])
    });
    let model = operator.becomes(&["LayerNorm"]);
    assert_eq!(model.graph.nodes().next().unwrap().1.float("epsilon"), Some(1e-3));
    let without_beta = case(17, |e, x| {
        let gamma = e.weight("gamma", &[4]);
        e.op("LayerNormalization", &[x, gamma])
    });
    without_beta.becomes(&["LayerNorm"]);
    assert_eq!(decomposed(-1, true, true).becomes(&["LayerNorm"]).graph.node_count(), 1);
    decomposed(2, false, true).becomes(&["LayerNorm"]);
    decomposed(-1, true, false).becomes(&["LayerNorm"]);
}

/// Layer normalization of older exporters over `axis`, with `Pow` or `Mul`, one or two differences.
fn decomposed(axis: i64, pow: bool, shared: bool) -> Case {
    case(13, |e, x| {
        let mean_of =
            |e: &mut Exporter, x| e.op_with("ReduceMean", &[x], [("axes", Attribute::Ints(vec![axis]))]);
        let mean = mean_of(e, x);
        let d = e.op("Sub", &[x, mean]);
        let again = if shared { d } else { e.op("Sub", &[x, mean]) };
        let two = e.float(2.0);
        let square = if pow { e.op("Pow", &[again, two]) } else { e.op("Mul", &[again, again]) };
        let variance = mean_of(e, square);
        let epsilon = e.float(1e-5);
        let shifted = e.op("Add", &[variance, epsilon]);
        let root = e.op("Sqrt", &[shifted]);
        let normal = e.op("Div", &[d, root]);
        let (gamma, beta) = (e.weight("gamma", &[4]), e.weight("beta", &[4]));
        let scaled = e.op("Mul", &[gamma, normal]);
        e.op("Add", &[scaled, beta])
    })
}

#[test]
fn normalization_over_another_axis_stays() {
    decomposed(0, true, true).becomes(&[]);
}

/// Multiplies three factors in one of the orders that exporters use.
fn product(e: &mut Exporter, order: usize, [x, half, gate]: [ValueId; 3]) -> ValueId {
    let (first, second, third) = [
        (x, gate, half),
        (gate, x, half),
        (x, half, gate),
        (half, x, gate),
        (half, gate, x),
        (gate, half, x),
    ][order];
    let inner = e.op("Mul", &[first, second]);
    e.op("Mul", &if order.is_multiple_of(2) { [inner, third] } else { [third, inner] })
}

fn exact_gelu(order: usize, divide: bool, half: f32) -> Case {
    case(17, |e, x| {
        let scaled = if divide {
            let root = e.float(std::f32::consts::SQRT_2);
            e.op("Div", &[x, root])
        } else {
            let factor = e.float(std::f32::consts::FRAC_1_SQRT_2);
            e.op("Mul", &[factor, x])
        };
        let erf = e.op("Erf", &[scaled]);
        let (one, half) = (e.float(1.0), e.float(half));
        let gate = e.op("Add", &[erf, one]);
        product(e, order, [x, half, gate])
    })
}

fn tanh_gelu(order: usize, pow: bool) -> Case {
    case(17, |e, x| {
        let cube = if pow {
            let three = e.float(3.0);
            e.op("Pow", &[x, three])
        } else {
            let square = e.op("Mul", &[x, x]);
            e.op("Mul", &[x, square])
        };
        let (small, slope, one, half) = (e.float(0.044715), e.float(0.797_884_6), e.float(1.0), e.float(0.5));
        let small = e.op("Mul", &[small, cube]);
        let sum = e.op("Add", &[x, small]);
        let scaled = e.op("Mul", &[sum, slope]);
        let tanh = e.op("Tanh", &[scaled]);
        let gate = e.op("Add", &[one, tanh]);
        product(e, order, [x, half, gate])
    })
}

#[test]
fn gelu_is_recognised_in_every_order() {
    for order in 0..6 {
        let exact = exact_gelu(order, order < 3, 0.5).becomes(&["Gelu"]);
        assert_eq!(exact.graph.nodes().next().unwrap().1.text("approximate"), Some("none"));
        let tanh = tanh_gelu(order, order < 3).becomes(&["Gelu"]);
        assert_eq!(tanh.graph.nodes().next().unwrap().1.text("approximate"), Some("tanh"));
    }
}

#[test]
fn what_only_looks_like_gelu_stays() {
    exact_gelu(0, true, 0.6).becomes(&[]);
}

#[test]
fn dropout_keeps_its_ratio() {
    let dropout = case(13, |e, x| {
        let ratio = e.float(0.1);
        let kept = e.op("Dropout", &[x, ratio]);
        e.op("Relu", &[kept])
    });
    let model = dropout.becomes(&["Dropout"]);
    assert_eq!(model.graph.nodes().next().unwrap().1.float("ratio"), Some(0.1));
}

fn rms_norm(square: &'static str, divide: &'static str) -> Case {
    case(17, move |e, x| {
        let (gamma, two, epsilon, one) = (e.weight("gamma", &[4]), e.float(2.0), e.float(1e-6), e.float(1.0));
        let square = if square == "Pow" { e.op("Pow", &[x, two]) } else { e.op("Mul", &[x, x]) };
        let axes = [("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(1))];
        let mean = e.op_with("ReduceMean", &[square], axes);
        let sum = e.op("Add", &[mean, epsilon]);
        let root = e.op("Sqrt", &[sum]);
        let normal = match divide {
            "Div" => e.op("Div", &[x, root]),
            "Reciprocal" => {
                let inverse = e.op("Reciprocal", &[root]);
                e.op("Mul", &[x, inverse])
            }
            _ => {
                let inverse = e.op("Div", &[one, root]);
                e.op("Mul", &[inverse, x])
            }
        };
        e.op("Mul", &[gamma, normal])
    })
}

#[test]
fn rms_norm_is_recognised_as_operator_and_in_pieces() {
    for divide in ["Div", "Reciprocal", "one over"] {
        assert_eq!(rms_norm("Pow", divide).becomes(&["RmsNorm"]).graph.node_count(), 1, "{divide}");
    }
    rms_norm("Mul", "Reciprocal").becomes(&["RmsNorm"]);
    let operator = case(23, |e, x| {
        let gamma = e.weight("gamma", &[4]);
        e.op_with("RMSNormalization", &[x, gamma], [("epsilon", Attribute::Float(1e-3))])
    });
    operator.becomes(&["RmsNorm"]);
    let other_axis = case(23, |e, x| {
        let gamma = e.weight("gamma", &[3, 4]);
        e.op_with("RMSNormalization", &[x, gamma], [("axis", Attribute::Int(1))])
    });
    other_axis.becomes(&[]);
}

#[test]
fn silu_is_recognised_as_operator_and_in_pieces() {
    let pieces = |x_first: bool| {
        case(17, move |e, x| {
            let gate = e.op("Sigmoid", &[x]);
            e.op("Mul", &if x_first { [x, gate] } else { [gate, x] })
        })
    };
    assert_eq!(pieces(true).becomes(&["Silu"]).graph.node_count(), 1);
    pieces(false).becomes(&["Silu"]);
    case(24, |e, x| e.op("Swish", &[x])).becomes(&["Silu"]);
    case(24, |e, x| e.op_with("Swish", &[x], [("alpha", Attribute::Float(1.7))])).becomes(&[]);
}

/// `rotate_half` as PyTorch exports it, with slices or one split.
fn rotary(split: bool, second_first: bool) -> Case {
    case(17, move |e, x| {
        let (cos, sin) = (e.weight("cos", &[1, 4]), e.weight("sin", &[4]));
        let (first, second) = if split {
            let halves = e.patch.node_with(
                OpName::standard("Split"),
                "halves",
                vec![Some(x)],
                2,
                [("axis", Attribute::Int(-1))],
            );
            (halves[0], halves[1])
        } else {
            let [zero, two, end, axis] = [0, 2, i64::MAX, 2].map(|bound| e.ints(&[bound]));
            (e.op("Slice", &[x, zero, two, axis]), e.op("Slice", &[x, two, end, axis]))
        };
        let (negative, kept) = if second_first { (second, first) } else { (first, second) };
        let negative = e.op("Neg", &[negative]);
        let swapped = e.op_with("Concat", &[negative, kept], [("axis", Attribute::Int(-1))]);
        let (plain, turned) = (e.op("Mul", &[x, cos]), e.op("Mul", &[swapped, sin]));
        e.op("Add", &[plain, turned])
    })
}

#[test]
fn rotary_embedding_is_recognised() {
    assert_eq!(rotary(false, true).becomes(&["Rotary"]).graph.node_count(), 1);
    rotary(true, true).becomes(&["Rotary"]);
    rotary(false, false).becomes(&[]);
}
