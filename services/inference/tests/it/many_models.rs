//! Several models in one process: they share threads fairly and memory by need.

use std::time::{Duration, Instant};

use crate::service::{Home, Service, Toy};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// Takes long enough that a crowd of its texts fills the service.
const SLOW: Toy =
    Toy { work: 300, version: "1", sign: 1.0, labels: &["negative", "positive"], embeds: false };

async fn ask(service: &Service, model: &str) -> (StatusCode, Value) {
    service.post(&format!("/v1/models/{model}:predict"), &json!({ "text": "good film" })).await
}

async fn residence(service: &Service, model: &str) -> Value {
    service.get(&format!("/v1/models/{model}")).await.1["residence"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_overloaded_model_does_not_starve_another() {
    let home = Home::new().await;
    home.deploy("loud", &SLOW).await;
    home.deploy("quiet", &Toy::default()).await;
    let mut config = home.config();
    config.workers = 1;
    config.queue = 64;
    let service = Service::start(config).await;
    service.until_ready().await;
    // A crowd fills the line of one model, again and again.
    let url = format!("{}/v1/models/loud:predict", service.url);
    let crowd: Vec<_> = (0..4)
        .map(|_| {
            let request = service.client.post(&url).json(&json!({ "texts": vec!["good ".repeat(60); 60] }));
            tokio::spawn(async move {
                let (mut answered, mut refused) = (0, 0);
                for _ in 0..6 {
                    match request.try_clone().unwrap().send().await.unwrap().status() {
                        StatusCode::OK => answered += 1,
                        StatusCode::TOO_MANY_REQUESTS => refused += 1,
                        status => panic!("{status}"),
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                (answered, refused)
            })
        })
        .collect();
    let waiting = r#"refit_model_queue_depth{model="loud"}"#;
    service.until("the crowd waits", async || service.metric(waiting).await > Some(30.0)).await;
    let mut quiet = Vec::new();
    while !crowd.iter().all(tokio::task::JoinHandle::is_finished) {
        let started = Instant::now();
        assert_eq!(ask(&service, "quiet").await.0, StatusCode::OK);
        quiet.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut refused = 0;
    for client in crowd {
        refused += client.await.unwrap().1;
    }
    assert!(refused > 0, "the crowd was too small to fill its line");
    let loud =
        service.metric(r#"refit_request_duration_seconds_sum{model="loud",phase="compute",version="1"}"#);
    let count =
        service.metric(r#"refit_request_duration_seconds_count{model="loud",phase="compute",version="1"}"#);
    let turn = Duration::from_secs_f64(loud.await.unwrap() / count.await.unwrap());
    quiet.sort();
    let median = quiet[quiet.len() / 2];
    // It waits for the turn under way and not for the sixty behind it.
    assert!(median < 10 * turn + Duration::from_millis(20), "{median:?} beside turns of {turn:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_give_way_and_come_back_when_they_are_asked_for() {
    let home = Home::new().await;
    for model in ["a", "b", "c"] {
        // Some five megabytes of weights each.
        home.deploy(model, &Toy { work: 20, ..Toy::default() }).await;
    }
    let mut config = home.config();
    config.pinned = vec!["a".to_owned()];
    let without_limit = Service::start(home.config()).await;
    without_limit.until_ready().await;
    let bytes = async |model: &str| {
        let (_, described) = without_limit.get(&format!("/v1/models/{model}")).await;
        described["memory_bytes"].as_f64().unwrap_or_default()
    };
    let mut needed = 0.0;
    for model in ["a", "b", "c"] {
        // The service is ready with the first of them.
        without_limit.until("it is loaded", async || bytes(model).await > 5e6).await;
        needed = f64::max(needed, bytes(model).await);
    }
    without_limit.stop().await.unwrap().unwrap();
    // Room for two of the three.
    config.memory_budget = Some((needed * 2.6) as u64);
    let service = Service::start(config).await;
    service.until_ready().await;
    let on_demand = async || {
        let mut names = Vec::new();
        for model in ["a", "b", "c"] {
            if residence(&service, model).await == "on_demand" {
                names.push(model);
            }
        }
        names
    };
    service.until("one waits for its first request", async || on_demand().await == ["c"]).await;
    assert_eq!(residence(&service, "a").await, "pinned");
    for (asked, away) in [("c", "b"), ("b", "c"), ("a", "c"), ("c", "b")] {
        let (status, body) = ask(&service, asked).await;
        assert_eq!((status, &body["model"]), (StatusCode::OK, &json!(asked)), "{body}");
        assert_eq!(on_demand().await, [away], "after {asked}");
    }
    let evictions = async |model: &str| {
        service.metric(&format!(r#"refit_model_evictions_total{{model="{model}"}}"#)).await
    };
    assert_eq!(
        [evictions("a").await, evictions("b").await, evictions("c").await],
        [None, Some(2.0), Some(1.0)]
    );
    // Many requests at once for one that is away are all answered, by one load.
    let url = format!("{}/v2/models/b/infer", service.url);
    let input = json!({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}]});
    let crowd: Vec<_> =
        (0..20).map(|_| tokio::spawn(service.client.post(&url).json(&input).send())).collect();
    for request in crowd {
        assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(evictions("c").await, Some(2.0));
    assert_eq!(service.get("/v2/health/ready").await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fits_nowhere_says_so() {
    let home = Home::new().await;
    home.deploy("huge", &Toy { work: 20, ..Toy::default() }).await;
    let mut config = home.config();
    config.memory_budget = Some(1 << 20);
    let service = Service::start(config).await;
    service.until("it is known", async || residence(&service, "huge").await == "on_demand").await;
    let (status, body) = ask(&service, "huge").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body["error"].as_str().unwrap().contains("raise serve.memory_budget (now 1048576)"), "{body}");
}
