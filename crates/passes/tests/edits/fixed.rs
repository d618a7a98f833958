//! int8 with fixed scales: calibrated through an engine, run in it.

use super::network::{CLASSES, IMAGE, Network, numbers};
use super::*;
use refit_engine::{Engine, ModelSource, Session, SessionOptions};
use refit_engine_tract::Tract;
use refit_graph::{ValueId, onnx};
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
) -> (BTreeMap<String, ActivationRange>, BTreeMap<String, Vec<f32>>) {
    let names = QuantizeInt8Fixed::activations(model).unwrap();
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
    let (ranges, _) = calibrated(&model, &images(16));
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
            assert!(readers.iter().all(|id| graph.node(*id).op.is("QuantizeLinear")), "{op} makes floats");
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
    let (ranges, _) = calibrated(&model, &feeds);
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

#[test]
fn layers_that_are_kept_stay_in_float32() {
    let model = portable(&classifier()).unwrap();
    let layers = QuantizeInt8Fixed::layers(&model);
    assert_eq!(layers.len(), 2 * 6, "the head is too small");
    let (ranges, _) = calibrated(&model, &texts());
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
    let (ranges, maxima) = calibrated(&model, &feeds);
    let mut smooth = model.clone();
    edit(&mut smooth, &SmoothActivations { maxima, alpha: 0.5 }).unwrap();
    let (after, _) = calibrated(&smooth, &feeds);
    assert_eq!(ranges.len(), after.len());
    let (mut plain, mut smooth) = (session(&model), session(&smooth));
    for feed in &feeds {
        let (a, b) = (output(plain.as_mut(), feed, "embedding"), output(smooth.as_mut(), feed, "embedding"));
        let difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(difference < 1e-4, "{difference}");
    }
}
