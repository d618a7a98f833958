use super::*;
use refit_passes::edit::{Freeze, FreezePolicy, Lora, split_frozen};

fn frozen(train: FreezePolicy) -> Model {
    let mut model = classifier();
    edit(&mut model, &Freeze { train }).unwrap();
    model
}

/// Runs the prefix, hands its features to the suffix, and gives the suffix' logits.
fn run_split(prefix: &Model, suffix: &Model, features: &[String], inputs: &Tensors) -> Tensor {
    let mut all = inputs.clone();
    for feature in features {
        all.insert(feature.clone(), run(prefix, inputs, feature));
    }
    run(suffix, &all, "logits")
}

fn input_names(model: &Model) -> Vec<&str> {
    model.graph.inputs().iter().map(|id| model.graph.value(*id).name.as_str()).collect()
}

#[test]
fn the_halves_compute_what_the_whole_does() {
    let inputs = inputs(&ROWS);
    for train in [FreezePolicy::HeadOnly, FreezePolicy::LastLayers(1)] {
        let model = frozen(train);
        let split = split_frozen(&model).unwrap().expect("something is frozen");
        let logits = run_split(&split.prefix, &split.suffix, &split.features, &inputs);
        assert_eq!(max_difference(&logits, &run(&model, &inputs, "logits")), 0.0, "{train:?}");
        assert!(trainable(&split.prefix).is_empty());
        assert_eq!(trainable(&split.suffix), trainable(&model));
    }
}

#[test]
fn feature_extraction_caches_one_vector_a_text() {
    let split = split_frozen(&frozen(FreezePolicy::HeadOnly)).unwrap().unwrap();
    assert_eq!(split.features, ["features.0"]);
    assert_eq!(outputs(&split.prefix), ["features.0"]);
    assert_eq!(input_names(&split.suffix), ["features.0"]);
    assert_eq!(run(&split.prefix, &inputs(&ROWS), "features.0").dims(), [3, 32]);
    let dropout = split.suffix.graph.nodes().any(|(_, node)| node.op.is_refit("Dropout"));
    assert!(dropout, "dropout before the head draws anew in every epoch");
}

#[test]
fn partial_training_caches_hidden_states_and_recomputes_the_mask() {
    let split = split_frozen(&frozen(FreezePolicy::LastLayers(1))).unwrap().unwrap();
    assert_eq!(split.features, ["features.0"]);
    assert_eq!(input_names(&split.suffix), ["attention_mask", "features.0"]);
    assert_eq!(run(&split.prefix, &inputs(&ROWS), "features.0").dims(), [3, 8, 32]);
    let shape: Vec<String> = {
        let id = split.prefix.graph.outputs()[0];
        split.prefix.graph.fact(id).shape.iter().flatten().map(ToString::to_string).collect()
    };
    assert_eq!(shape, ["batch", "sequence", "32"]);
}

#[test]
fn padding_of_cached_features_does_not_matter() {
    // Features are cached row by row, each as long as its text, and padded with zeros to a batch.
    let model = frozen(FreezePolicy::LastLayers(1));
    let split = split_frozen(&model).unwrap().unwrap();
    let mut rows = Vec::new();
    for row in ROWS {
        let alone = run(&split.prefix, &inputs(&[row]), "features.0");
        rows.push(alone.pad_with_zeros(1, 0, 8 - row.len()).unwrap());
    }
    let mut all = inputs(&ROWS);
    all.insert("features.0".to_owned(), Tensor::cat(&rows, 0).unwrap());
    let logits = run(&split.suffix, &all, "logits");
    assert!(max_difference(&logits, &run(&model, &inputs(&ROWS), "logits")) < 1e-5);
}

#[test]
fn nothing_is_split_where_nothing_is_saved() {
    let whole = frozen(FreezePolicy::Nothing);
    assert!(split_frozen(&whole).unwrap().is_none());
    let layers = frozen(FreezePolicy::LastLayers(2));
    assert!(split_frozen(&layers).unwrap().is_none(), "only embeddings are frozen");
    let mut adapted = classifier();
    edit(&mut adapted, &Lora { rank: 2, alpha: 2.0, targets: Vec::new(), dropout: 0.0, seed: 1 }).unwrap();
    assert!(split_frozen(&adapted).unwrap().is_none(), "adapters in the first layer leave next to nothing");
}

#[test]
fn a_model_in_which_nothing_trains_is_refused() {
    let mut model = encoder();
    let ids: Vec<_> = model.graph.initializers().map(|(id, _)| id).collect();
    for id in ids {
        model.graph.set_trainable(id, false);
    }
    let message = split_frozen(&model).unwrap_err().to_string();
    assert!(message.contains("nothing could be trained"), "{message}");
}
