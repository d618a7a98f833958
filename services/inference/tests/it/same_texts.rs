//! The same text asked again: computed once where that is wanted, and always an answer of its own.

use std::collections::BTreeSet;

use crate::service::{Home, Service, Toy, fixed};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn found(service: &Service) -> (f64, f64) {
    let outcome = |outcome: &str| format!(r#"refit_cache_texts_total{{model="toy",outcome="{outcome}"}}"#);
    let (computed, found) = (outcome("computed"), outcome("found"));
    (service.metric(&computed).await.unwrap_or(0.0), service.metric(&found).await.unwrap_or(0.0))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_and_stays_an_answer_of_its_own() {
    let home = Home::new().await;
    home.register(&Toy::default()).await;
    home.register(&Toy { version: "2", sign: -1.0, ..Toy::default() }).await;
    home.promote("1").await;
    let mut config = home.config();
    config.cache_bytes = 1 << 20;
    let service = Service::start(config).await;
    service.until_ready().await;
    let mut ids = BTreeSet::new();
    let first = service.predict("good film").await;
    for _ in 0..5 {
        let mut again = service.predict("good film").await;
        ids.insert(again["prediction_id"].take().as_str().unwrap().to_owned());
        again["prediction_id"] = first["prediction_id"].clone();
        assert_eq!(again, first);
    }
    // One request with the same text twice, and another text.
    let (status, many) =
        service.post("/v1/models/toy:predict", &json!({"texts": ["bad", "bad", "good film"]})).await;
    assert_eq!(status, StatusCode::OK);
    for answer in many["predictions"].as_array().unwrap() {
        ids.insert(answer["prediction_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 8);
    assert_eq!(found(&service).await, (2.0, 7.0));
    assert_eq!(service.metric(r#"refit_predictions_total{model="toy",version="1"}"#).await, Some(9.0));
    assert_eq!(
        service.metric(r#"refit_drift_window_observations{model="toy",version="1"}"#).await,
        Some(9.0)
    );
    assert!(service.metric("refit_cache_bytes").await.unwrap() > 2.0 * 256.0 * 4.0);
    // Feedback joins the answer that it is about.
    let feedback = json!({"prediction_id": ids.first().unwrap(), "label": "positive"});
    service
        .until("it is recorded", async || service.post("/v1/feedback", &feedback).await.0.is_success())
        .await;
    // Another version is asked anew.
    home.promote("2").await;
    let second = r#"refit_served_version{model="toy",role="champion",version="2"}"#;
    service.until("it serves", async || service.metric(second).await == Some(1.0)).await;
    assert_eq!(service.predict("good film").await["label"], "negative");
    assert_eq!(found(&service).await, (3.0, 7.0));
    service.stop().await.unwrap().unwrap();
    assert_eq!(home.store.count_predictions("toy", jiff::Timestamp::UNIX_EPOCH).await.unwrap(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_does_not_grow_beyond_its_bytes() {
    let (service, _folder) = fixed(Toy::default(), |config| config.cache_bytes = 64 << 10).await;
    let texts: Vec<String> = (0..200).map(|number| format!("good {number}")).collect();
    let (status, _) = service.post("/v1/models/toy:predict", &json!({ "texts": texts })).await;
    assert_eq!(status, StatusCode::OK);
    let bytes = service.metric("refit_cache_bytes").await.unwrap();
    assert!((1e3..=65_536.0).contains(&bytes), "{bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_one_text_share_its_computation() {
    let slow = Toy { work: 400, ..Toy::default() };
    let (service, _folder) = fixed(slow, |config| {
        config.workers = 1;
        config.coalesce = true;
    })
    .await;
    let url = format!("{}/v1/models/toy:predict", service.url);
    let text = json!({ "text": "good ".repeat(60) });
    let crowd: Vec<_> = (0..16).map(|_| tokio::spawn(service.client.post(&url).json(&text).send())).collect();
    let mut ids = BTreeSet::new();
    for request in crowd {
        let answer: Value = request.await.unwrap().unwrap().json().await.unwrap();
        assert_eq!(answer["label"], "positive");
        ids.insert(answer["prediction_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 16);
    let (computed, shared) = found(&service).await;
    assert_eq!(computed + shared, 16.0);
    assert!(computed <= 4.0, "{computed} of 16 were computed");
    // Nothing is kept: asked later, it is computed again.
    service.post("/v1/models/toy:predict", &text).await;
    assert_eq!(found(&service).await.0, computed + 1.0);
    assert_eq!(service.metric("refit_cache_bytes").await, Some(0.0));
}

/// Whoever computes for others may leave; one of the others takes over.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_takes_over_from_a_client_that_left() {
    let slow = Toy { work: 400, ..Toy::default() };
    let (service, _folder) = fixed(slow, |config| {
        config.workers = 1;
        config.coalesce = true;
    })
    .await;
    let url = format!("{}/v1/models/toy:predict", service.url);
    let other = json!({ "texts": vec!["good ".repeat(60); 1] });
    let busy = tokio::spawn(service.client.post(&url).json(&other).send());
    let text = json!({ "text": "bad ".repeat(60) });
    let leaves = service.client.post(&url).json(&text).timeout(std::time::Duration::from_millis(30));
    let leaves = tokio::spawn(leaves.send());
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    let (status, answer) = service.post("/v1/models/toy:predict", &text).await;
    assert_eq!((status, &answer["label"]), (StatusCode::OK, &json!("negative")));
    let _ = leaves.await.unwrap();
    busy.await.unwrap().unwrap();
}
