//! A small random BERT against Hugging Face transformers (tests/reference/bert_logits.py tiny).

use candle_core::{Device, Tensor};
use refit_autodiff::{Mode, Program};
use refit_families::{HIDDEN_STATE, Pooling, load};
use serde_json::Value;
use std::{collections::HashMap, path::Path};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny-bert"))
}

fn ids(expected: &Value, name: &str) -> Tensor {
    let rows: Vec<Vec<i64>> = serde_json::from_value(expected[name].clone()).unwrap();
    Tensor::new(rows, &Device::Cpu).unwrap()
}

#[test]
fn hidden_states_equal_those_of_transformers() {
    let base = load(folder()).unwrap();
    let expected: Value =
        serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap();
    let program = Program::compile(&base.model, &[HIDDEN_STATE], &Device::Cpu).unwrap();
    let inputs: HashMap<String, Tensor> = ["input_ids", "attention_mask", "token_type_ids"]
        .map(|name| (name.to_owned(), ids(&expected, name)))
        .into();
    let activations = program.forward(&inputs, Mode::Eval).unwrap();
    let found: Vec<Vec<Vec<f32>>> = activations.output(HIDDEN_STATE).unwrap().to_vec3().unwrap();
    let wanted: Vec<Vec<Vec<f32>>> = serde_json::from_value(expected["hidden"].clone()).unwrap();
    let mask: Vec<Vec<i64>> = serde_json::from_value(expected["attention_mask"].clone()).unwrap();
    let mut compared = 0;
    for ((found, wanted), mask) in found.iter().zip(&wanted).zip(&mask) {
        for ((found, wanted), kept) in found.iter().zip(wanted).zip(mask) {
            if *kept == 1 {
                for (found, wanted) in found.iter().zip(wanted) {
                    assert!((found - wanted).abs() < 2e-5, "{found} instead of {wanted}");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 32 * (4 + 8 + 2 + 7));
}

#[test]
fn what_is_known_of_the_base() {
    let base = load(folder()).unwrap();
    assert_eq!((base.hidden_size, base.num_layers, base.max_length), (32, 2, 24));
    assert_eq!((base.family.as_str(), base.pooling), ("bert", Pooling::Cls));
    assert_eq!(base.tokenizer, None);
    assert_eq!(base.ignored_settings, ["attention_probs_dropout_prob"]);
}

#[test]
fn every_parameter_has_its_authors_name_and_trains() {
    let base = load(folder()).unwrap();
    let graph = &base.model.graph;
    let trainable: Vec<&str> = graph
        .initializers()
        .filter(|(_, initializer)| initializer.trainable)
        .map(|(id, _)| graph.value(id).name.as_str())
        .collect();
    assert_eq!(trainable.len(), 5 + 2 * 16);
    for name in ["embeddings.position_embeddings.weight", "encoder.layer.1.attention.self.query.weight"] {
        assert!(trainable.contains(&name), "{name}");
    }
}

#[test]
fn dropout_stands_where_bert_has_it() {
    let base = load(folder()).unwrap();
    let ratios: Vec<Option<f32>> = base
        .model
        .graph
        .nodes()
        .filter(|(_, node)| node.op.is_refit("Dropout"))
        .map(|(_, node)| node.float("ratio"))
        .collect();
    assert_eq!(ratios, [Some(0.1); 1 + 2 * 2]);
}
