use super::*;
use refit_autodiff::Gradients;
use refit_graph::DType;
use refit_passes::edit::MixedPrecision;

/// Dropout would draw other masks for other nodes.
fn plain() -> Model {
    without_dropout(classifier())
}

fn mixed() -> Model {
    let mut model = plain();
    edit(&mut model, &MixedPrecision).unwrap();
    model
}

fn gradients(model: &Model) -> (Program, Gradients, usize) {
    let program = Program::compile(model, &["logits"], &Device::Cpu).unwrap();
    // So many rows that activations, not weights, are most of what is kept.
    let rows = ROWS.repeat(32);
    let activations = program.forward(&wanted(model, &inputs(&rows)), Mode::Train { seed: 1 }).unwrap();
    let kept = activations.kept_bytes();
    let logits = activations.output("logits").unwrap().clone();
    let seed = HashMap::from([("logits".to_owned(), logits.sin().unwrap())]);
    let gradients = program.backward(activations, seed).unwrap();
    (program, gradients, kept)
}

#[test]
fn products_compute_in_bfloat16_and_outputs_stay_float32() {
    let model = mixed();
    let of_type = |dtype: DType, op: &OpName| {
        let made = |node: &refit_graph::Node| model.graph.fact(node.output(0).unwrap()).dtype;
        model.graph.nodes().filter(|(_, node)| node.op == *op && made(node) == Some(dtype)).count()
    };
    assert_eq!(of_type(DType::F32, &OpName::refit("Linear")), 0);
    assert_eq!(of_type(DType::BF16, &OpName::refit("Attention")), 2);
    assert_eq!(of_type(DType::BF16, &OpName::refit("Gelu")), 2);
    assert_eq!(of_type(DType::BF16, &OpName::refit("LayerNorm")), 0);
    let expected = run(&plain(), &inputs(&ROWS), "logits");
    let found = run(&model, &inputs(&ROWS), "logits");
    assert_eq!(found.dtype(), candle_core::DType::F32);
    let difference = max_difference(&expected, &found);
    // Eight bits of mantissa, through two layers.
    assert!(difference > 0.0 && difference < 0.02, "{difference}");
}

#[test]
fn gradients_reach_the_float32_weights() {
    let (program, expected, kept) = gradients(&plain());
    let (in_mixed, found, kept_in_mixed) = gradients(&mixed());
    assert_eq!(program.parameters(), in_mixed.parameters());
    let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    let largest = expected.iter().map(|(_, gradient)| norm(gradient.values())).fold(0.0, f32::max);
    for parameter in program.parameters() {
        let tensor = |of: &Gradients| of.get(parameter.id).unwrap().to_tensor().unwrap();
        let (right, found) = (tensor(&expected), tensor(&found));
        assert_eq!(found.dtype(), candle_core::DType::F32, "{}", parameter.name);
        let (error, size) = (norm(&(found - &right).unwrap()), norm(&right));
        // A bias of keys has no effect on attention: its gradient is rounding alone.
        assert!(error < 0.05 * size + 1e-3 * largest, "{}: {error} of {size}", parameter.name);
    }
    assert!(kept_in_mixed * 6 < kept * 5, "{kept_in_mixed} of {kept}");
}
