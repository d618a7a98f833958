use super::*;
use refit_graph::{HostTensor, Model};
use refit_passes::edit::{PruneFeedForward, PruneHeads, PruneWeights, ZeroWeights};
use refit_passes::lower::portable;

fn shape(model: &Model, name: &str) -> Vec<usize> {
    let id = model.graph.find(name).unwrap_or_else(|| panic!("no {name}"));
    model.graph.initializer(id).unwrap().tensor.shape().to_vec()
}

fn tensor(model: &Model, name: &str) -> Vec<f32> {
    let id = model.graph.find(name).unwrap();
    model.graph.initializer(id).unwrap().tensor.to_f32().unwrap()
}

fn heads(model: &Model) -> Vec<i64> {
    let attentions = model.graph.nodes().filter(|(_, node)| node.op.is_refit("Attention"));
    attentions.map(|(_, node)| node.int("num_heads").unwrap()).collect()
}

const LAYER: &str = "encoder.layer.0";

/// The same model with the outputs of head `head` multiplied by `factor` where values are made.
fn with_head_scaled(head: usize, factor: f32) -> Model {
    let mut model = classifier();
    let width = 32 / heads(&model)[0] as usize;
    for part in ["weight", "bias"] {
        let name = format!("{LAYER}.attention.self.value.{part}");
        let (id, shape) = (model.graph.find(&name).unwrap(), shape(&model, &name));
        let columns = shape.get(1).copied().unwrap_or(1);
        let mut values = tensor(&model, &name);
        values[head * width * columns..(head + 1) * width * columns].iter_mut().for_each(|v| *v *= factor);
        model.graph.set_initializer(id, HostTensor::from_f32(&shape, &values)).unwrap();
    }
    model
}

#[test]
fn heads_and_columns_go_from_every_layer_and_the_file_is_smaller() {
    let full = classifier();
    let before = heads(&full);
    let mut model = full.clone();
    edit(&mut model, &PruneHeads { share: 0.5 }).unwrap();
    edit(&mut model, &PruneFeedForward { share: 0.5 }).unwrap();
    assert_eq!(heads(&model), before.iter().map(|heads| heads / 2).collect::<Vec<_>>());
    for part in ["query", "key", "value"] {
        let name = format!("{LAYER}.attention.self.{part}");
        assert_eq!(shape(&model, &format!("{name}.weight")), [16, 32]);
        assert_eq!(shape(&model, &format!("{name}.bias")), [16]);
    }
    assert_eq!(shape(&model, &format!("{LAYER}.attention.output.dense.weight")), [32, 16]);
    let columns = shape(&full, &format!("{LAYER}.intermediate.dense.weight"))[0];
    let left = (columns / 2).div_ceil(16) * 16;
    assert_eq!(shape(&model, &format!("{LAYER}.intermediate.dense.weight")), [left, 32]);
    assert_eq!(shape(&model, &format!("{LAYER}.output.dense.weight")), [32, left]);
    let sorted = |model: &Model| {
        let mut names: Vec<String> = trainable(model).into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(&model), sorted(&full), "what trains stays what it was");

    let bytes = |model: &Model| refit_graph::onnx::write(&portable(model).unwrap()).unwrap().len();
    assert!(bytes(&model) < bytes(&full));
    let rows = inputs(&ROWS);
    let (graph, lowered) = (run(&model, &rows, "logits"), run(&portable(&model).unwrap(), &rows, "logits"));
    assert!(max_difference(&graph, &lowered) < 1e-5);
}

#[test]
fn a_head_that_does_nothing_goes_first_and_is_not_missed() {
    for head in 0..heads(&classifier())[0] as usize {
        let mut silent = with_head_scaled(head, 0.0);
        let count = heads(&silent)[0];
        let rows = inputs(&ROWS);
        // Layer 0 alone has a head without effect; of the other layer a head goes that has one.
        let (before, values) =
            (heads(&silent), tensor(&silent, &format!("{LAYER}.attention.self.value.bias")));
        let expected: Vec<f32> = values
            .chunks(values.len() / count as usize)
            .enumerate()
            .filter(|(index, _)| *index != head)
            .flat_map(|(_, part)| part.to_vec())
            .collect();
        edit(&mut silent, &PruneHeads { share: 1.0 / count as f64 }).unwrap();
        assert_eq!(heads(&silent), before.iter().map(|heads| heads - 1).collect::<Vec<_>>());
        assert_eq!(tensor(&silent, &format!("{LAYER}.attention.self.value.bias")), expected);
        assert!(values_are_finite(&run(&silent, &rows, "logits")));
    }
}

fn values_are_finite(tensor: &candle_core::Tensor) -> bool {
    values(tensor).iter().all(|value| value.is_finite())
}

#[test]
fn columns_that_nobody_reads_are_not_missed() {
    let mut model = classifier();
    for layer in 0..2 {
        let name = format!("encoder.layer.{layer}.output.dense.weight");
        let (id, shape) = (model.graph.find(&name).unwrap(), shape(&model, &name));
        let mut weights = tensor(&model, &name);
        // Every second column of the feed-forward layer is read with a weight of 0.
        weights.iter_mut().enumerate().for_each(|(place, w)| *w *= (place % shape[1] % 2) as f32);
        model.graph.set_initializer(id, HostTensor::from_f32(&shape, &weights)).unwrap();
    }
    let rows = inputs(&ROWS);
    let before = run(&model, &rows, "logits");
    edit(&mut model, &PruneFeedForward { share: 0.5 }).unwrap();
    assert!(max_difference(&before, &run(&model, &rows, "logits")) < 1e-5);
}

#[test]
fn the_smallest_weights_of_every_layer_are_zero_and_nothing_else_is() {
    let full = classifier();
    let mut model = full.clone();
    edit(&mut model, &PruneWeights { share: 0.6 }).unwrap();
    let names: Vec<String> =
        PruneWeights::layers(&full.graph).iter().map(|id| full.graph.value(*id).name.clone()).collect();
    assert_eq!(names.len(), 2 * 6, "six linear layers in each of two: {names:?}");
    assert!(
        names.iter().all(|name| name.contains("encoder.layer.") && name.ends_with(".weight")),
        "{names:?}"
    );
    for (id, initializer) in full.graph.initializers() {
        let name = &full.graph.value(id).name;
        let Some(before) = initializer.tensor.to_f32() else { continue };
        let after = tensor(&model, name);
        if !names.contains(name) {
            assert_eq!(after, before, "{name}");
            continue;
        }
        let zeros = after.iter().filter(|value| **value == 0.0).count();
        assert_eq!(zeros, (0.6 * before.len() as f64).ceil() as usize, "{name}");
        let pairs = || before.iter().zip(&after);
        let gone =
            pairs().filter(|(_, after)| **after == 0.0).fold(0f32, |most, (old, _)| most.max(old.abs()));
        for (old, new) in pairs().filter(|(_, new)| **new != 0.0) {
            assert!(old == new && old.abs() >= gone, "{name}: {old} became {new}");
        }
    }
    let mut sorted = trainable(&model);
    let mut whole = trainable(&full);
    sorted.sort_unstable();
    whole.sort_unstable();
    assert_eq!(sorted, whole, "what trains stays what it was");
    let found = ZeroWeights::of(&model.graph);
    assert!(found.share() >= 0.6 && found.share() < 0.601, "{found}");

    // The file that is served has them too, and a second time there is nothing to do.
    let file = portable(&model).unwrap();
    let lowered = ZeroWeights::of(&file.graph);
    assert_eq!(lowered.zeros, found.zeros, "{lowered}");
    let once = model.clone();
    edit(&mut model, &PruneWeights { share: 0.6 }).unwrap();
    assert!(names.iter().all(|name| tensor(&model, name) == tensor(&once, name)));
    assert!(values_are_finite(&run(&model, &inputs(&ROWS), "logits")));
}

#[test]
fn what_cannot_be_pruned_is_said() {
    let message = refusal(&portable(&classifier()).unwrap(), &PruneHeads { share: 0.5 });
    assert!(message.contains("no attention has projections of its own"), "{message}");
    assert!(refusal(&classifier(), &PruneFeedForward { share: 1.5 }).contains("not in [0, 1)"));
    assert!(refusal(&classifier(), &PruneWeights { share: 1.0 }).contains("not in [0, 1)"));
}
