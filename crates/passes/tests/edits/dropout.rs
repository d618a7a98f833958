use super::*;
use refit_passes::edit::{InsertDropout, SetDropout, depths, head_depth};

/// The encoder as an export for inference has it.
fn exported() -> Model {
    without_dropout(encoder())
}

/// What the dropouts read, by the names of the nodes that make it.
fn places(model: &Model) -> Vec<String> {
    let producers = model.graph.producers();
    let dropped = model.graph.nodes().filter(|(_, node)| node.op.is_refit("Dropout"));
    let maker = |value: refit_graph::ValueId| producers[value.index()].map(|id| model.graph.node(id));
    let mut places: Vec<String> =
        dropped.map(|(_, node)| maker(node.input(0).unwrap()).unwrap().name.clone()).collect();
    places.sort();
    places
}

#[test]
fn an_export_gets_its_dropout_back_at_the_same_places() {
    let mut model = exported();
    assert!(InsertDropout::is_needed(&model.graph));
    edit(&mut model, &InsertDropout { ratio: 0.1 }).unwrap();
    assert_eq!(places(&model).len(), 5, "after the embeddings and twice in each of two layers");
    assert_eq!(places(&model), places(&encoder()), "where the authors of the model have it");
    assert!(!InsertDropout::is_needed(&model.graph));
}

#[test]
fn evaluation_stays_the_same_and_training_differs() {
    let (plain, inputs) = (exported(), inputs(&ROWS));
    let mut model = plain.clone();
    edit(&mut model, &InsertDropout { ratio: 0.5 }).unwrap();
    let before = run(&plain, &inputs, "last_hidden_state");
    assert_eq!(max_difference(&before, &run(&model, &inputs, "last_hidden_state")), 0.0);
    let program = Program::compile(&model, &["last_hidden_state"], &Device::Cpu).unwrap();
    let forward = program.forward(&wanted(&model, &inputs), Mode::Train { seed: 1 }).unwrap();
    assert!(max_difference(&before, forward.output("last_hidden_state").unwrap()) > 0.1);
    assert!(refusal(&plain, &InsertDropout { ratio: 1.0 }).contains("not in [0, 1)"));
}

#[test]
fn every_share_becomes_the_given_one() {
    let mut model = encoder();
    edit(&mut model, &SetDropout { ratio: 0.25 }).unwrap();
    assert_eq!(places(&model), places(&encoder()));
    let dropped = model.graph.nodes().filter(|(_, node)| node.op.is_refit("Dropout"));
    assert!(dropped.map(|(_, node)| node.float("ratio")).all(|ratio| ratio == Some(0.25)));
    let (before, after) = (encoder(), model);
    let run = |model| run(model, &inputs(&ROWS), "last_hidden_state");
    assert_eq!(max_difference(&run(&before), &run(&after)), 0.0);
    assert!(refusal(&before, &SetDropout { ratio: -0.1 }).contains("not in [0, 1)"));
}

#[test]
fn depths_rise_from_the_embeddings_to_the_head() {
    let model = classifier();
    let found = depths(&model.graph);
    assert_eq!(head_depth(&model.graph), 3);
    for (name, depth) in [
        ("embeddings.word_embeddings.weight", 0),
        ("encoder.layer.0.attention.self.query.weight", 1),
        ("encoder.layer.1.output.LayerNorm.bias", 2),
        ("classifier.weight", 3),
    ] {
        let id = model.graph.find(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(found[&id], depth, "{name}");
    }
}
