//! More requests than can be answered: the rest is refused at once, and nothing is computed for nobody.

use std::time::{Duration, Instant};

use crate::service::{Toy, fixed};
use reqwest::StatusCode;
use serde_json::json;

/// Takes long enough that requests meet each other.
const SLOW: Toy =
    Toy { work: 400, version: "1", sign: 1.0, labels: &["negative", "positive"], embeds: false };

fn long_text() -> String {
    "good ".repeat(60)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_with_429_and_answers_the_rest() {
    let (service, _folder) = fixed(SLOW, |config| {
        config.workers = 1;
        config.queue = 3;
    })
    .await;
    let url = format!("{}/v1/models/toy:predict", service.url);
    let requests: Vec<_> = (0..24)
        .map(|_| tokio::spawn(service.client.post(&url).json(&json!({"text": long_text()})).send()))
        .collect();
    let (mut answered, mut refused) = (0, 0);
    for request in requests {
        let response = request.await.unwrap().unwrap();
        match response.status() {
            StatusCode::OK => answered += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                assert_eq!(response.headers()["retry-after"], "1");
                let body: serde_json::Value = response.json().await.unwrap();
                assert_eq!(body["error"], "too many texts are waiting: try again in a second");
                refused += 1;
            }
            status => panic!("{status}"),
        }
    }
    assert!(answered >= 3 && refused >= 1, "{answered} answered, {refused} refused");
    let counted = service.metric(r#"refit_requests_total{code="429",model="toy"}"#).await;
    assert_eq!(counted, Some(f64::from(refused)));
    assert_eq!(service.metric("refit_queue_depth").await, Some(0.0));
    service.predict("good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_too_long_gets_503_and_is_not_computed() {
    let (service, _folder) = fixed(SLOW, |config| {
        config.workers = 1;
        config.deadline = Duration::from_millis(60);
    })
    .await;
    let texts = vec![long_text(); 40];
    let started = Instant::now();
    let (status, body) = service.post("/v1/models/toy:predict", &json!({ "texts": texts })).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(body["error"], "no answer within the deadline of 0.06 s");
    // The texts that still wait when nobody waits for them are dropped without being computed.
    service
        .until("the queue is empty", async || service.metric("refit_queue_depth").await == Some(0.0))
        .await;
    let left = service.metric(r#"refit_texts_dropped_total{reason="client_left"}"#).await.unwrap_or(0.0);
    let late = service.metric(r#"refit_texts_dropped_total{reason="deadline"}"#).await.unwrap_or(0.0);
    assert!(left + late >= 20.0, "{left} {late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_a_client_that_left_are_dropped() {
    let (service, _folder) = fixed(SLOW, |config| config.workers = 1).await;
    let url = format!("{}/v1/models/toy:predict", service.url);
    let texts = vec![long_text(); 60];
    let request =
        service.client.post(url).json(&json!({ "texts": texts })).timeout(Duration::from_millis(80));
    assert!(request.send().await.unwrap_err().is_timeout());
    service
        .until("the texts are dropped", async || {
            service.metric(r#"refit_texts_dropped_total{reason="client_left"}"#).await.unwrap_or(0.0) >= 30.0
        })
        .await;
}
