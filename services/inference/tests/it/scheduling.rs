//! What is measured at load shows, and what is decided from it changes no answer.

use std::path::PathBuf;

use crate::service::{Service, Toy, fixed};
use refit_predictor::Form;
use reqwest::StatusCode;
use serde_json::{Value, json};

fn texts() -> Vec<String> {
    let words = ["good", "bad", "film", "the", "plot", "slow"];
    let word = |number: usize| words[number * 7 % words.len()];
    (0..240)
        .map(|number| (0..1 + number % 9).map(|place| word(number + place)).collect::<Vec<_>>().join(" "))
        .collect()
}

/// The answers to all texts, asked in one request.
async fn together(service: &Service) -> Vec<Value> {
    let (status, answer) = service.post("/v1/models/toy:predict", &json!({ "texts": texts() })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["predictions"].as_array().unwrap().clone()
}

async fn alone(service: &Service) -> Vec<Value> {
    let mut answers = Vec::new();
    for text in texts() {
        answers.push(service.predict(&text).await);
    }
    answers
}

fn assert_same(one: &[Value], other: &[Value], tolerance: f64) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one["label"], other["label"]);
        let p = |answer: &Value| answer["probabilities"]["positive"].as_f64().unwrap();
        assert!((p(one) - p(other)).abs() <= tolerance, "{one} {other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tract_runs_every_text_alone() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let (_, described) = service.get("/v1/models/toy").await;
    let champion = &described["champion"];
    assert_eq!((&champion["largest_batch"], &champion["lone_threads"]), (&json!(1), &json!(1)));
    let latency = champion["latency"].as_array().unwrap();
    assert!(latency.iter().all(|point| point["texts"] == 1 && point["seconds"].as_f64().unwrap() > 0.0));
    let lengths: Vec<u64> = latency.iter().map(|point| point["tokens"].as_u64().unwrap()).collect();
    assert_eq!(lengths, [8, 32, 64], "the toy reads 64 tokens");
    for tokens in lengths {
        let labels = format!(r#"model="toy",texts="1",threads="1",tokens="{tokens}",version="1""#);
        assert!(service.metric(&format!("refit_latency_curve_seconds{{{labels}}}")).await.unwrap() > 0.0);
    }
    assert_same(&together(&service).await, &alone(&service).await, 0.0);
    let runs = service.metric(r#"refit_batch_texts_count{model="toy",version="1"}"#).await;
    assert_eq!(runs, Some(480.0));
    let of_one = service.metric(r#"refit_batch_texts_bucket{model="toy",version="1",le="1"}"#).await;
    assert_eq!(of_one, runs);
}

/// The toy's runs cost more than its texts, so batches pay wherever the engine keeps answers apart.
#[tokio::test(flavor = "multi_thread")]
async fn onnxruntime_batches_where_it_pays_and_answers_are_the_same() {
    let cache = std::env::var_os("REFIT_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".cache/refit"));
    if let Err(reason) = refit_engine_ort::find_library(None, &cache) {
        assert!(std::env::var_os("REFIT_REQUIRE_ORT").is_none_or(|value| value != "1"), "{reason}");
        eprintln!("skipped: {reason}");
        return;
    }
    let (service, _folder) = fixed(Toy { work: 4, ..Toy::default() }, |config| {
        config.engines.cache = cache;
        config.form = Form::InEngine("onnxruntime".into());
        config.workers = 1;
    })
    .await;
    let (_, described) = service.get("/v1/models/toy").await;
    let champion = &described["champion"];
    assert_eq!(champion["engine"], "onnxruntime");
    assert!(champion["largest_batch"].as_u64().unwrap() > 1, "{champion}");
    let expected = alone(&service).await;
    let runs = async || service.metric(r#"refit_batch_texts_count{model="toy",version="1"}"#).await.unwrap();
    let before = runs().await;
    assert_eq!(before, 240.0);
    assert_same(&together(&service).await, &expected, 1e-5);
    let used = runs().await - before;
    assert!(used < 200.0, "240 texts took {used} runs");
    let answered = service.metric(r#"refit_predictions_total{model="toy",version="1"}"#).await;
    assert_eq!(answered, Some(480.0));
}
