use super::*;
use refit_graph::{HostTensor, ValueId};
use refit_passes::edit::{Lora, MergeLora};

fn lora(targets: &[&str]) -> Lora {
    Lora {
        rank: 4,
        alpha: 8.0,
        targets: targets.iter().map(|t| (*t).to_owned()).collect(),
        dropout: 0.0,
        seed: 3,
    }
}

/// Gives every B values, as training would.
fn train(model: &mut Model) -> usize {
    let is_b = |id: &ValueId| model.graph.value(*id).name.ends_with(".lora_B.weight");
    let ids: Vec<ValueId> = model.graph.initializers().map(|(id, _)| id).filter(is_b).collect();
    let trained = ids.len();
    for id in ids {
        let shape = model.graph.initializer(id).unwrap().tensor.shape().to_vec();
        let values: Vec<f32> =
            (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.7).sin() * 0.2).collect();
        model.graph.set_initializer(id, HostTensor::from_f32(&shape, &values)).unwrap();
    }
    trained
}

#[test]
fn before_the_first_step_nothing_changes() {
    let (before, inputs) = (classifier(), inputs(&ROWS));
    let mut after = before.clone();
    edit(&mut after, &lora(&["query", "value", "output.dense"])).unwrap();
    assert_eq!(max_difference(&run(&before, &inputs, "logits"), &run(&after, &inputs, "logits")), 0.0);
}

#[test]
fn merging_keeps_the_outputs_and_removes_the_adapters() {
    let (plain, inputs) = (classifier(), inputs(&ROWS));
    for targets in [&[][..], &["query"], &["dense"], &["attention.output.dense", "key"]] {
        let mut model = plain.clone();
        edit(&mut model, &lora(targets)).unwrap();
        assert!(train(&mut model) > 0);
        let adapted = run(&model, &inputs, "logits");
        assert!(
            max_difference(&adapted, &run(&plain, &inputs, "logits")) > 1e-3,
            "the adapters do something"
        );

        edit(&mut model, &MergeLora).unwrap();
        assert!(max_difference(&adapted, &run(&model, &inputs, "logits")) < 1e-5, "{targets:?}");
        assert_eq!(model.graph.node_count(), plain.graph.node_count());
        let names = |model: &Model| -> Vec<String> {
            let mut names: Vec<_> =
                model.graph.initializers().map(|(id, _)| model.graph.value(id).name.clone()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&model), names(&plain), "{targets:?}");
    }
}

#[test]
fn merging_works_for_weights_that_hold_inputs_first() {
    // Lowering turns [outputs, inputs] into [inputs, outputs]; reading that file gives Linear with transB 0.
    let mut model = refit_passes::lower::portable(&classifier()).unwrap();
    refit_passes::canonicalize(&mut model).unwrap();
    edit(&mut model, &lora(&["query", "intermediate"])).unwrap();
    train(&mut model);
    let (inputs, plain) = (inputs(&ROWS), model.clone());
    edit(&mut model, &MergeLora).unwrap();
    assert!(model.graph.node_count() < plain.graph.node_count());
    assert!(max_difference(&run(&plain, &inputs, "logits"), &run(&model, &inputs, "logits")) < 1e-5);
}

#[test]
fn every_adapter_gets_a_gradient() {
    let mut model = classifier();
    edit(&mut model, &lora(&[])).unwrap();
    train(&mut model);
    let program = Program::compile(&model, &["logits"], &Device::Cpu).unwrap();
    let activations = program.forward(&inputs(&ROWS), Mode::Train { seed: 1 }).unwrap();
    let ones = activations.output("logits").unwrap().ones_like().unwrap();
    let gradients = program.backward(activations, HashMap::from([("logits".to_owned(), ones)])).unwrap();
    assert_eq!(program.missing_gradients(&gradients), Vec::<String>::new());
    assert_eq!(gradients.len(), 2 + 2 * 2 * 2);
}

#[test]
fn dropout_stands_before_the_adapter_alone_and_goes_when_it_is_merged() {
    let (plain, inputs) = (classifier(), inputs(&ROWS));
    let mut model = plain.clone();
    edit(&mut model, &Lora { dropout: 0.5, ..lora(&[]) }).unwrap();
    train(&mut model);
    let dropouts =
        |model: &Model| model.graph.nodes().filter(|(_, node)| node.op.is_refit("Dropout")).count();
    assert_eq!(dropouts(&model), dropouts(&plain) + 2 * 2);
    let program = Program::compile(&model, &["logits"], &Device::Cpu).unwrap();
    let drawn =
        |seed| program.forward(&inputs, Mode::Train { seed }).unwrap().output("logits").unwrap().clone();
    assert!(max_difference(&drawn(1), &drawn(2)) > 1e-4);

    let adapted = run(&model, &inputs, "logits");
    edit(&mut model, &MergeLora).unwrap();
    assert!(max_difference(&adapted, &run(&model, &inputs, "logits")) < 1e-5);
    assert_eq!(model.graph.node_count(), plain.graph.node_count());
}

#[test]
fn layers_that_share_a_weight_share_an_adapter() {
    // DeBERTa-v3 puts tokens and distances through the same projections.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../families/tests/data/tiny-deberta-v3");
    let plain = refit_families::load(&folder).unwrap().model;
    let mut model = plain.clone();
    edit(&mut model, &lora(&[])).unwrap();
    assert_eq!(train(&mut model), 2 * 2);
    let inputs = inputs(&[&[2, 5, 9, 7, 3], &[2, 30, 3]]);
    let adapted = run(&model, &inputs, "last_hidden_state");
    assert!(max_difference(&adapted, &run(&plain, &inputs, "last_hidden_state")) > 1e-3);
    edit(&mut model, &MergeLora).unwrap();
    assert!(max_difference(&adapted, &run(&model, &inputs, "last_hidden_state")) < 1e-4);
    assert_eq!(model.graph.node_count(), plain.graph.node_count());
}

#[test]
fn a_model_without_adapters_stays_as_it_is() {
    let (before, mut after) = (classifier(), classifier());
    edit(&mut after, &MergeLora).unwrap();
    assert_eq!(before, after);
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = classifier();
    for (edit, reason) in [
        (lora(&["q_proj"]), "no linear layer is called q_proj; there are self.query, self.key"),
        (lora(&["classifier"]), "no linear layer is called classifier"),
        (Lora { rank: 0, ..lora(&[]) }, "choose from 1 to 32"),
        (Lora { rank: 33, ..lora(&[]) }, "choose from 1 to 32"),
        (Lora { alpha: 0.0, ..lora(&[]) }, "alpha must be above zero"),
        (Lora { dropout: 1.0, ..lora(&[]) }, "dropout of 1 is not in [0, 1)"),
    ] {
        let message = refusal(&model, &edit);
        assert!(message.contains(reason), "{reason:?}: {message}");
    }
    let mut twice = model;
    edit(&mut twice, &lora(&[])).unwrap();
    assert!(refusal(&twice, &lora(&[])).contains("merge it first"));
}
