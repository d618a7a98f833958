//! A shadow is compared and changes nothing; versions change under load without a failed request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::service::{Home, Service, Toy};
use refit_store::VersionStatus;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// Says the opposite.
const SECOND: Toy =
    Toy { version: "2", sign: -1.0, labels: &["negative", "positive"], work: 0, embeds: false };
/// Says the same.
const THIRD: Toy = Toy { version: "3", sign: 1.0, labels: &["negative", "positive"], work: 0, embeds: false };

async fn serving(home: &Home) -> Service {
    for toy in [Toy::default(), SECOND, THIRD] {
        home.register(&toy).await;
    }
    home.promote("1").await;
    let service = Service::start(home.config()).await;
    service.until_ready().await;
    service
}

async fn is(service: &Service, version: &str, role: &str) {
    let series = format!(r#"refit_served_version{{model="toy",role="{role}",version="{version}"}}"#);
    service.until("it has its role", async || service.metric(&series).await == Some(1.0)).await;
}

async fn compared(service: &Service, version: &str, outcome: &str) -> f64 {
    let labels = format!(r#"model="toy",outcome="{outcome}",version="{version}""#);
    service.metric(&format!("refit_shadow_texts_total{{{labels}}}")).await.unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_and_answers_nobody() {
    let home = Home::new().await;
    let service = serving(&home).await;
    for (version, agrees) in [("2", false), ("3", true)] {
        home.shadow(version, 100.0).await;
        is(&service, version, "shadow").await;
        for number in 0..40 {
            let answer = service.predict(&format!("good {number}")).await;
            assert_eq!((&answer["version"], &answer["label"]), (&json!("1"), &json!("positive")));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let outcome = if agrees { "agrees" } else { "differs" };
        service
            .until("all are compared", async || {
                compared(&service, version, outcome).await + compared(&service, version, "dropped").await
                    == 40.0
            })
            .await;
        assert!(compared(&service, version, outcome).await > 0.0);
        let other = if agrees { "differs" } else { "agrees" };
        assert_eq!(
            compared(&service, version, other).await + compared(&service, version, "failed").await,
            0.0
        );
        let seconds = |of: &str| {
            format!(r#"refit_shadow_compute_seconds_total{{model="toy",of="{of}",version="{version}"}}"#)
        };
        for of in ["shadow", "answering"] {
            assert!(service.metric(&seconds(of)).await.unwrap() > 0.0);
        }
        let (_, described) = service.get("/v1/models/toy").await;
        assert_eq!(
            (&described["shadow"]["version"], &described["shadow"]["percent"]),
            (&json!(version), &json!(100.0))
        );
        // It cannot be asked, is not recorded, and is not watched.
        let infer = format!("/v2/models/toy/versions/{version}/infer");
        let input =
            json!({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}]});
        assert_eq!(service.post(&infer, &input).await.0, StatusCode::NOT_FOUND);
        let answered = format!(r#"refit_predictions_total{{model="toy",version="{version}"}}"#);
        assert_eq!(service.metric(&answered).await.unwrap_or(0.0), 0.0);
    }
    let generation = home.store.deployment("toy").await.unwrap().generation;
    home.store.clear_shadow("toy", generation).await.unwrap();
    let gone = r#"refit_served_version{model="toy",role="shadow",version="3"}"#;
    service.until("the shadow is gone", async || service.metric(gone).await.is_none()).await;
    service.stop().await.unwrap().unwrap();
    assert_eq!(home.store.count_predictions("toy", jiff::Timestamp::UNIX_EPOCH).await.unwrap(), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_gets_its_share() {
    let home = Home::new().await;
    let service = serving(&home).await;
    home.shadow("3", 25.0).await;
    is(&service, "3", "shadow").await;
    for number in 0..200 {
        service.predict(&format!("good {number}")).await;
    }
    // Five standard deviations of 200 draws at 0.25 are 31.
    let copies = async || {
        let outcomes = ["agrees", "differs", "failed", "dropped"];
        let mut sum = 0.0;
        for outcome in outcomes {
            sum += compared(&service, "3", outcome).await;
        }
        sum
    };
    service.until("the copies are counted", async || copies().await >= 19.0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(copies().await <= 81.0, "{}", copies().await);
}

/// Canary, shadow, promotion and rollback while four clients ask all the time: every request is answered.
#[tokio::test(flavor = "multi_thread")]
async fn versions_change_under_load_without_a_failed_request() {
    let home = Home::new().await;
    let service = serving(&home).await;
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (over, http) = (Arc::clone(&over), service.client.clone());
            let url = format!("{}/v1/models/toy:predict", service.url);
            tokio::spawn(async move {
                let mut versions = std::collections::BTreeSet::new();
                let mut asked = 0;
                while !over.load(Ordering::Relaxed) {
                    let text = json!({ "text": format!("good {client} {asked}") });
                    let response = http.post(&url).json(&text).send().await.unwrap();
                    assert_eq!(response.status(), StatusCode::OK);
                    let answer: Value = response.json().await.unwrap();
                    versions.insert(answer["version"].as_str().unwrap().to_owned());
                    asked += 1;
                }
                versions
            })
        })
        .collect();
    for _ in 0..3 {
        home.canary("2", 50.0).await;
        is(&service, "2", "canary").await;
        home.shadow("3", 100.0).await;
        is(&service, "3", "shadow").await;
        let generation = home.store.deployment("toy").await.unwrap().generation;
        home.store.clear_canary("toy", generation, VersionStatus::RolledBack).await.unwrap();
        home.promote("3").await;
        is(&service, "3", "champion").await;
        let generation = home.store.deployment("toy").await.unwrap().generation;
        home.store.rollback("toy", generation, "a test says so", "test").await.unwrap();
        is(&service, "1", "champion").await;
    }
    over.store(true, Ordering::Relaxed);
    let mut versions = std::collections::BTreeSet::new();
    for client in clients {
        versions.extend(client.await.unwrap());
    }
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), ["1", "2", "3"]);
    let metrics = service.metrics().await;
    let failed = metrics
        .lines()
        .filter(|line| line.starts_with("refit_requests_total") && !line.contains(r#"code="200""#));
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<&str>::new());
}
