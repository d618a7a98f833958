//! int8 with fixed scales: calibrated through an engine, run in it.

use super::network::{CLASSES, IMAGE, Network, numbers};
use super::*;
use refit_engine::{Engine, ModelSource, Session, SessionOptions};
use refit_engine_tract::Tract;
use refit_graph::{Attribute, DType, Dim, Fact, Graph, HostTensor, ValueId, onnx};
use refit_passes::{
    edit::{ActivationRange, FixedForm, FoldBatchNorm, QuantizeInt8Fixed, SmoothActivations},
    lower::portable,
    with_outputs,
};
use std::collections::{BTreeMap, BTreeSet};

type Feed = (String, refit_engine::Tensor);

fn session(model: &Model) -> Box<dyn Session> {
    let bytes = onnx::write(model).unwrap();
    Tract.load(ModelSource::Bytes(&bytes), &SessionOptions { threads: 1 }).unwrap()
}

fn answers(session: &mut dyn Session, feed: &[Feed]) -> Vec<Feed> {
    let names: Vec<String> = session.inputs().iter().map(|port| port.name.clone()).collect();
    let given: Vec<(&str, &refit_engine::Tensor)> =
        feed.iter().filter(|(name, _)| names.contains(name)).map(|(n, t)| (n.as_str(), t)).collect();
    session.run(&given).unwrap()
}

fn output(session: &mut dyn Session, feed: &[Feed], name: &str) -> Vec<f32> {
    let outputs = answers(session, feed);
    outputs.iter().find(|(output, _)| output == name).unwrap().1.as_f32().unwrap().to_vec()
}

/// The least and greatest value of everything that has to be known, and the largest of each channel.
fn calibrated(
    model: &Model,
    feeds: &[Vec<Feed>],
    form: FixedForm,
) -> (BTreeMap<String, ActivationRange>, BTreeMap<String, Vec<f32>>) {
    let names = QuantizeInt8Fixed::activations(model, form).unwrap();
    let mut session = session(&with_outputs(model, &names).unwrap());
    let mut ranges: BTreeMap<String, ActivationRange> = BTreeMap::new();
    let mut channels: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for feed in feeds {
        for (name, tensor) in answers(session.as_mut(), feed).into_iter().chain(feed.iter().cloned()) {
            let Some(values) = tensor.as_f32().filter(|_| names.contains(&name)) else { continue };
            let width = *tensor.shape().last().unwrap();
            let largest = channels.entry(name.clone()).or_insert_with(|| vec![0.0; width]);
            let range = ranges.entry(name).or_insert(ActivationRange { low: 0.0, high: 0.0 });
            for (place, value) in values.iter().enumerate() {
                largest[place % width] = largest[place % width].max(value.abs());
                (range.low, range.high) = (range.low.min(*value), range.high.max(*value));
            }
        }
    }
    (ranges, channels)
}

fn texts() -> Vec<Vec<Feed>> {
    let of_row = |row: &&[i64]| {
        let tensors = inputs(&[row]).into_iter();
        tensors
            .map(|(name, tensor)| {
                let values = tensor.flatten_all().unwrap().to_vec1().unwrap();
                (name, refit_engine::Tensor::i64(tensor.dims(), values).unwrap())
            })
            .collect()
    };
    ROWS.iter().map(of_row).collect()
}

fn images(count: usize) -> Vec<Vec<Feed>> {
    let mut seed = 1;
    let size: usize = IMAGE.iter().product();
    let image = |seed: &mut u32| {
        let shape = [&[1], IMAGE.as_slice()].concat();
        vec![("image".to_owned(), refit_engine::Tensor::f32(shape, numbers(seed, size)).unwrap())]
    };
    (0..count).map(|_| image(&mut seed)).collect()
}

fn folded() -> Model {
    let mut model = portable(&Network::model()).unwrap();
    edit(&mut model, &FoldBatchNorm).unwrap();
    model
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes().filter(|(_, node)| node.op.is(op)).count()
}

#[test]
fn batch_normalization_goes_into_the_convolution() {
    let plain = portable(&Network::model()).unwrap();
    let folded = folded();
    assert_eq!((count(&plain, "BatchNormalization"), count(&folded, "BatchNormalization")), (4, 0));
    let (mut plain, mut folded) = (session(&plain), session(&folded));
    for feed in images(4) {
        let (a, b) = (output(plain.as_mut(), &feed, "logits"), output(folded.as_mut(), &feed, "logits"));
        assert_eq!(a.len(), CLASSES);
        let difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn a_convolutional_network_is_integers_from_the_first_convolution_to_the_last() {
    let model = folded();
    let (ranges, _) = calibrated(&model, &images(16), FixedForm::Pairs);
    let mut int8 = model.clone();
    edit(&mut int8, &QuantizeInt8Fixed { ranges, ..QuantizeInt8Fixed::default() }).unwrap();

    let graph = &int8.graph;
    let producers = graph.producers();
    let consumers = graph.consumers();
    let made_by = |id: ValueId| producers[id.index()].map_or("", |node| graph.node(node).op.name.as_str());
    for (_, node) in graph.nodes() {
        let op = node.op.name.as_str();
        if ["Conv", "Gemm", "Add", "MaxPool", "GlobalAveragePool", "Flatten"].contains(&op) {
            for input in node.inputs.iter().flatten() {
                assert_eq!(made_by(*input), "DequantizeLinear", "{op} reads floats");
            }
        }
        if ["Relu", "Add", "MaxPool", "GlobalAveragePool", "Flatten"].contains(&op) {
            let readers = &consumers[node.output(0).unwrap().index()];
            // A sum is rounded once, after its activation.
            let next = if op == "Add" { "Relu" } else { "QuantizeLinear" };
            assert!(readers.iter().all(|id| graph.node(*id).op.is(next)), "{op} makes floats");
        }
    }
    let (mut float, mut int8) = (session(&model), session(&int8));
    for feed in images(8) {
        let (a, b) = (output(float.as_mut(), &feed, "logits"), output(int8.as_mut(), &feed, "logits"));
        let cosine = cosine(&a, &b);
        assert!(cosine > 0.995, "{cosine}: {a:?} {b:?}");
    }
}

#[test]
fn both_forms_of_a_text_model_stay_close_to_float32() {
    let model = portable(&classifier()).unwrap();
    let feeds = texts();
    let (ranges, _) = calibrated(&model, &feeds, FixedForm::Pairs);
    let mut float = session(&model);
    let mut made = Vec::new();
    for form in [FixedForm::Pairs, FixedForm::Products] {
        let mut int8 = model.clone();
        edit(&mut int8, &QuantizeInt8Fixed { ranges: ranges.clone(), form, ..QuantizeInt8Fixed::default() })
            .unwrap();
        let products = count(&int8, "MatMulInteger");
        assert_eq!(products, if form == FixedForm::Products { 2 * 6 } else { 0 });
        let mut int8 = session(&int8);
        let found: Vec<Vec<f32>> =
            feeds.iter().map(|feed| output(int8.as_mut(), feed, "embedding")).collect();
        for (feed, found) in feeds.iter().zip(&found) {
            let cosine = cosine(&output(float.as_mut(), feed, "embedding"), found);
            assert!(cosine > 0.99, "{form:?}: {cosine}");
        }
        made.push(found);
    }
    for (pairs, products) in made[0].iter().zip(&made[1]) {
        assert!(cosine(pairs, products) > 0.999, "two ways to write the same");
    }
}

/// The answer of refit's own operators, which follow the standard to the letter.
fn computed(model: &Model, feed: &[Feed], name: &str) -> Vec<f32> {
    let tensor = |tensor: &refit_engine::Tensor| {
        let shape = tensor.shape();
        match (tensor.as_f32(), tensor.as_i64()) {
            (Some(values), _) => Tensor::from_slice(values, shape, &Device::Cpu).unwrap(),
            (_, values) => Tensor::from_slice(values.unwrap(), shape, &Device::Cpu).unwrap(),
        }
    };
    let inputs: Tensors = feed.iter().map(|(name, given)| (name.clone(), tensor(given))).collect();
    values(&run(model, &inputs, name))
}

/// One layer and what follows it: `x` -> `y`.
fn layer(op: &str, weight: &[usize], bias: bool, attributes: Vec<(&'static str, Attribute)>) -> Model {
    let mut graph = Graph::new("layer");
    let shape = if op == "Conv" { vec![3.into(), 8.into(), 8.into()] } else { vec![Dim::from(32)] };
    let x = graph.add_input("x", Fact::new(DType::F32, [vec![Dim::from("batch")], shape].concat()));
    let mut patch = Patch::new(&graph);
    let mut seed = 3;
    let mut inputs = vec![x];
    let mut constant = |name: &str, shape: &[usize]| {
        let values = numbers(&mut seed, shape.iter().product());
        inputs.push(patch.initializer(name, HostTensor::from_f32(shape, &values), false));
    };
    constant("weight", weight);
    if bias {
        constant("bias", &[40]);
    }
    let y = match op {
        "Conv" => {
            let sums = patch.node(OpName::standard(op), "sums", &inputs, attributes);
            patch.node(OpName::standard("Relu"), "y", &[sums], [])
        }
        _ => patch.node(OpName::standard(op), "y", &inputs, attributes),
    };
    patch.set_outputs(vec![y]);
    patch.apply(&mut graph).unwrap();
    portable(&Model::new(graph, 17)).unwrap()
}

#[test]
fn an_operator_of_integers_computes_what_its_pair_does_to_a_step_of_the_result() {
    let transposed = || vec![("transB", Attribute::Int(1))];
    let padded = vec![("pads", Attribute::Ints(vec![1; 4]))];
    for (operator, model) in [
        ("QLinearMatMul", layer("MatMul", &[32, 40], false, vec![])),
        ("QLinearMatMul", layer("Gemm", &[40, 32], false, transposed())),
        ("QLinearMatMul", layer("Gemm", &[40, 32], true, transposed())),
        ("QLinearMatMul", layer("Gemm", &[32, 40], true, vec![])),
        ("QLinearConv", layer("Conv", &[40, 3, 3, 3], true, padded.clone())),
        ("QLinearConv", layer("Conv", &[40, 3, 3, 3], false, padded)),
    ] {
        let mut seed = 9;
        let x = |seed: &mut u32| {
            let shape = if operator == "QLinearConv" { vec![2, 3, 8, 8] } else { vec![5, 32] };
            let values = numbers(seed, shape.iter().product());
            vec![("x".to_owned(), refit_engine::Tensor::f32(shape, values).unwrap())]
        };
        let feeds: Vec<Vec<Feed>> = (0..4).map(|_| x(&mut seed)).collect();
        let (ranges, _) = calibrated(&model, &feeds, FixedForm::Operators);
        let [pairs, operators] = [FixedForm::Pairs, FixedForm::Operators].map(|form| {
            let mut int8 = model.clone();
            let ranges = ranges.clone();
            edit(&mut int8, &QuantizeInt8Fixed { ranges, form, ..QuantizeInt8Fixed::default() }).unwrap();
            int8
        });
        let graph = &operators.graph;
        let (_, node) = graph.nodes().find(|(_, node)| node.op.is(operator)).expect(operator);
        let step = graph.initializer(node.input(6).unwrap()).unwrap().tensor.to_f32().unwrap()[0];
        for feed in &feeds {
            let (a, b) = (computed(&pairs, feed, "y"), computed(&operators, feed, "y"));
            let difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(difference <= 1.001 * step, "{operator}: {difference} with steps of {step}");
            assert!(a.iter().any(|value| *value > 20.0 * step), "{operator}: nothing to compare");
        }
    }
}

#[test]
fn a_convolution_of_one_channel_computes_in_floats_and_makes_integers() {
    let model = portable(&Network::grey()).unwrap();
    let size: usize = IMAGE[1..].iter().product();
    let image = |seed: u32| {
        let values = numbers(&mut { seed }, size);
        let image = refit_engine::Tensor::f32([1, 1, IMAGE[1], IMAGE[2]], values).unwrap();
        vec![("image".to_owned(), image)]
    };
    let feeds: Vec<Vec<Feed>> = (1..9).map(image).collect();
    for (form, convolutions) in [(FixedForm::Pairs, [2, 0]), (FixedForm::Operators, [1, 1])] {
        let (ranges, _) = calibrated(&model, &feeds, form);
        let mut int8 = model.clone();
        edit(&mut int8, &QuantizeInt8Fixed { ranges, form, ..QuantizeInt8Fixed::default() }).unwrap();
        assert_eq!(["Conv", "QLinearConv"].map(|op| count(&int8, op)), convolutions);
        let (graph, producers) = (&int8.graph, int8.graph.producers());
        let made_by = |id: ValueId| producers[id.index()].map(|node| graph.node(node).op.name.as_str());
        for (_, node) in graph.nodes() {
            let inputs = node.inputs.iter().flatten();
            match node.op.name.as_str() {
                "Conv" if node.input(0) == Some(graph.inputs()[0]) => {}
                "Conv" => assert_eq!(made_by(node.input(0).unwrap()), Some("DequantizeLinear")),
                "Add" => inputs.for_each(|id| assert_eq!(made_by(*id), Some("DequantizeLinear"))),
                _ => {}
            }
        }
        let (mut float, mut engine) = (session(&model), session(&int8));
        for feed in &feeds {
            let (a, b) = (output(float.as_mut(), feed, "logits"), output(engine.as_mut(), feed, "logits"));
            assert!(cosine(&a, &b) > 0.999, "{a:?} {b:?}");
        }
    }
}

#[test]
fn a_convolutional_network_in_operators_computes_in_floats_only_what_the_standard_has_no_operator_for() {
    let model = folded();
    let feeds = images(16);
    let (ranges, _) = calibrated(&model, &feeds, FixedForm::Operators);
    let [pairs, operators] = [FixedForm::Pairs, FixedForm::Operators].map(|form| {
        let mut int8 = model.clone();
        let ranges = ranges.clone();
        edit(&mut int8, &QuantizeInt8Fixed { ranges, form, ..QuantizeInt8Fixed::default() }).unwrap();
        int8
    });
    let counts =
        ["QLinearConv", "QLinearMatMul", "Conv", "Gemm", "MatMul", "Relu"].map(|op| count(&operators, op));
    assert_eq!(
        counts,
        [5, 1, 0, 0, 1, 1],
        "the last layer is too small, and a sum is no operator of integers"
    );
    let graph = &operators.graph;
    assert!(graph.nodes().all(|(_, node)| node.op.domain.is_empty()), "an operator of no standard");
    let dtype = |id: ValueId| graph.fact(id).dtype;
    for (_, node) in graph.nodes() {
        let read = node.input(0).and_then(dtype);
        match node.op.name.as_str() {
            "QLinearConv" | "QLinearMatMul" | "MaxPool" | "Flatten" => assert_eq!(read, Some(DType::U8)),
            "Add" | "GlobalAveragePool" => assert_eq!(read, Some(DType::F32)),
            _ => {}
        }
    }
    let mut engine = session(&operators);
    for feed in feeds.iter().take(4) {
        let (a, b) = (computed(&pairs, feed, "logits"), computed(&operators, feed, "logits"));
        assert!(cosine(&a, &b) > 0.999, "{a:?} {b:?}");
        let loaded = output(engine.as_mut(), feed, "logits");
        assert!(cosine(&b, &loaded) > 0.9999, "tract: {b:?} {loaded:?}");
    }
}

#[test]
fn the_operators_of_a_text_model_stay_close_to_its_pairs() {
    let model = portable(&classifier()).unwrap();
    let feeds = texts();
    let (ranges, _) = calibrated(&model, &feeds, FixedForm::Operators);
    let asked = |form| QuantizeInt8Fixed::activations(&model, form).unwrap().len();
    assert_eq!(asked(FixedForm::Operators), asked(FixedForm::Pairs) + 2 * 6, "ranges of the products too");
    let mut int8 = model.clone();
    let form = FixedForm::Operators;
    edit(&mut int8, &QuantizeInt8Fixed { ranges, form, ..QuantizeInt8Fixed::default() }).unwrap();
    assert_eq!(count(&int8, "QLinearMatMul"), 2 * 6);
    let (mut float, mut engine) = (session(&model), session(&int8));
    for feed in &feeds {
        let exact = output(float.as_mut(), feed, "embedding");
        let found = computed(&int8, feed, "embedding");
        assert!(cosine(&exact, &found) > 0.99, "{exact:?} {found:?}");
        let loaded = output(engine.as_mut(), feed, "embedding");
        assert!(cosine(&found, &loaded) > 0.9999, "tract: {found:?} {loaded:?}");
    }
}

#[test]
fn what_a_form_asks_for_in_addition_is_refused_without() {
    let model = portable(&classifier()).unwrap();
    let (ranges, _) = calibrated(&model, &texts(), FixedForm::Pairs);
    let form = FixedForm::Operators;
    let message = refusal(&model, &QuantizeInt8Fixed { ranges, form, ..QuantizeInt8Fixed::default() });
    assert!(message.contains("nothing is known of the range of"), "{message}");
}

#[test]
fn layers_that_are_kept_stay_in_float32() {
    let model = portable(&classifier()).unwrap();
    let layers = QuantizeInt8Fixed::layers(&model);
    assert_eq!(layers.len(), 2 * 6, "the head is too small");
    let (ranges, _) = calibrated(&model, &texts(), FixedForm::Pairs);
    let keep: BTreeSet<String> = layers.iter().skip(1).map(|layer| layer.weight.clone()).collect();
    let mut one = model.clone();
    edit(&mut one, &QuantizeInt8Fixed { ranges, keep, form: FixedForm::Products }).unwrap();
    assert_eq!(count(&one, "MatMulInteger"), 1);
    let weight = one.graph.find(&layers[1].weight).and_then(|id| one.graph.initializer(id));
    assert!(weight.is_some_and(|weight| weight.tensor.dtype().is_float()));
}

#[test]
fn what_was_not_calibrated_is_refused() {
    let message = refusal(&portable(&classifier()).unwrap(), &QuantizeInt8Fixed::default());
    assert!(message.contains("nothing is known of the range of"), "{message}");
}

#[test]
fn smoothing_changes_nothing_but_who_has_the_outliers() {
    let model = portable(&classifier()).unwrap();
    let feeds = texts();
    let (ranges, maxima) = calibrated(&model, &feeds, FixedForm::Pairs);
    let mut smooth = model.clone();
    edit(&mut smooth, &SmoothActivations { maxima, alpha: 0.5 }).unwrap();
    let (after, _) = calibrated(&smooth, &feeds, FixedForm::Pairs);
    assert_eq!(ranges.len(), after.len());
    let (mut plain, mut smooth) = (session(&model), session(&smooth));
    for feed in &feeds {
        let (a, b) = (output(plain.as_mut(), feed, "embedding"), output(smooth.as_mut(), feed, "embedding"));
        let difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(difference < 1e-4, "{difference}");
    }
}
