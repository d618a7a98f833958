//! Texts that are kept for training: which, where they wait while the store is away, and where else they go. None of it
//! is ever in the way of an answer.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::service::{Home, Service, Toy};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use jiff::Timestamp;
use refit_spec::EventsMode;
use refit_store::LabelledQuery;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

async fn serving(home: &Home, change: impl FnOnce(&mut refit_inference::ServeConfig)) -> Service {
    home.register(&Toy::default()).await;
    home.promote("1").await;
    start(home, change).await
}

async fn start(home: &Home, change: impl FnOnce(&mut refit_inference::ServeConfig)) -> Service {
    let mut config = home.config();
    config.record.interval = Duration::from_millis(10);
    change(&mut config);
    let service = Service::start(config).await;
    service.until_ready().await;
    service
}

/// Takes the store's only write lock, as a process that hangs in the middle of a write does.
async fn hang(home: &Home) -> SqliteConnection {
    let path = home.store.path().display().to_string();
    let mut connection = SqliteConnection::connect(&format!("sqlite://{path}")).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    connection
}

async fn release(mut connection: SqliteConnection) {
    sqlx::query("ROLLBACK").execute(&mut connection).await.unwrap();
}

async fn stored(home: &Home) -> u64 {
    home.store.count_predictions("toy", Timestamp::UNIX_EPOCH).await.unwrap()
}

/// The slowest of so many answers.
async fn slowest(service: &Service, count: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for number in 0..count {
        let started = Instant::now();
        service.predict(&format!("good film {number}")).await;
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_delays_no_answer_and_loses_nothing() {
    let home = Home::new().await;
    let service = serving(&home, |_| {}).await;
    service.predict("good").await;
    service.until("the first is stored", async || stored(&home).await == 1).await;
    let lock = hang(&home).await;
    let slowest = slowest(&service, 300).await;
    // The store's own patience is ten seconds.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let spooled = "refit_predictions_spooled_total";
    service.until("they wait on disk", async || service.metric(spooled).await == Some(300.0)).await;
    assert!(service.metric("refit_spool_bytes").await.unwrap() > 300.0 * 100.0);
    assert_eq!(stored(&home).await, 1);
    release(lock).await;
    service.until("all are stored", async || stored(&home).await == 301).await;
    service.until("nothing waits", async || service.metric("refit_spool_bytes").await == Some(0.0)).await;
    for reason in ["queue_full", "spool_full", "store_failed"] {
        let series = format!(r#"refit_predictions_dropped_total{{reason="{reason}"}}"#);
        assert_eq!(service.metric(&series).await, Some(0.0), "{reason}");
    }
    assert_eq!(std::fs::read_dir(home.folder.path().join("spool")).unwrap().count(), 0);
    // What comes now goes to the store at once, and a label finds it.
    let id = service.predict("good").await["prediction_id"].clone();
    let (status, body) =
        service.post("/v1/feedback", &json!({"prediction_id": id, "label": "positive"})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_disk_survives_a_restart() {
    let home = Home::new().await;
    let service = serving(&home, |_| {}).await;
    let lock = hang(&home).await;
    slowest(&service, 50).await;
    service.stop().await.unwrap().unwrap();
    assert!(std::fs::read_dir(home.folder.path().join("spool")).unwrap().count() > 0);
    assert_eq!(stored(&home).await, 0);
    release(lock).await;
    let service = start(&home, |_| {}).await;
    service.until("all are stored", async || stored(&home).await == 50).await;
    service.until("nothing waits", async || service.metric("refit_spool_bytes").await == Some(0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_drops_and_counts() {
    let home = Home::new().await;
    let service = serving(&home, |config| config.sampling.spool_bytes = 4000).await;
    let lock = hang(&home).await;
    slowest(&service, 100).await;
    let lost = r#"refit_predictions_dropped_total{reason="spool_full"}"#;
    let spooled = "refit_predictions_spooled_total";
    service
        .until("all are told", async || {
            let [lost, spooled] = [service.metric(lost).await, service.metric(spooled).await];
            lost.unwrap_or_default() + spooled.unwrap_or_default() == 100.0
        })
        .await;
    assert!(service.metric("refit_spool_bytes").await.unwrap() <= 4000.0);
    let dropped = service.metric(lost).await.unwrap();
    assert!(dropped > 50.0, "{dropped}");
    release(lock).await;
    service.until("the rest is stored", async || stored(&home).await as f64 == 100.0 - dropped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_of_interest_keeps_its_text() {
    let home = Home::new().await;
    let service = serving(&home, |config| {
        config.sampling.share = 0.0;
        config.sampling.below_confidence = 0.9;
    })
    .await;
    // Without a word of sentiment both labels are as probable.
    let mut feedback = Vec::new();
    for text in ["good film", "the plot", "bad film"] {
        let id = service.predict(text).await["prediction_id"].clone();
        feedback.push(json!({"prediction_id": id, "label": "positive"}));
    }
    let (status, body) = service.post("/v1/feedback", &json!(feedback)).await;
    assert_eq!((status, &body["accepted"]), (StatusCode::OK, &json!(3)), "{body}");
    let query = LabelledQuery { model: "toy", version: None, after: 0, predicted_since: None, limit: 10 };
    let rows = home.store.labelled_rows(query).await.unwrap();
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(texts, ["", "the plot", ""]);
    // Accuracy is that of all three.
    assert_eq!(service.metric(r#"refit_live_accuracy_labels{model="toy",version="1"}"#).await, Some(3.0));
    for (reason, count) in [("unsure", 1.0), ("not_kept", 2.0), ("share", 0.0)] {
        let series = format!(r#"refit_texts_sampled_total{{reason="{reason}"}}"#);
        assert_eq!(service.metric(&series).await, Some(count), "{reason}");
    }
}

type Received = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// A receiver of events that refuses the first `failures` with 503.
async fn receiver(failures: usize) -> (String, Received) {
    let received = Received::default();
    let left = Arc::new(Mutex::new(failures));
    let take = async move |State(received): State<Received>, headers: HeaderMap, body: Bytes| {
        let mut left = left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        received.lock().unwrap().push((headers, serde_json::from_slice(&body).unwrap()));
        StatusCode::NO_CONTENT
    };
    let router = Router::new().route("/events", post(take)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/events", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    (address, received)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_text_goes_out_as_a_cloud_event() {
    for mode in [EventsMode::Structured, EventsMode::Binary] {
        let (address, received) = receiver(2).await;
        let home = Home::new().await;
        let service = serving(&home, |config| {
            config.sampling.events = Some(address);
            config.sampling.events_mode = mode;
        })
        .await;
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let request = service.client.post(format!("{}/v1/models/toy:predict", service.url));
        let request = request.header("traceparent", caller).json(&json!({"text": "good film \u{e4}"}));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        service.until("it has come", async || received.lock().unwrap().len() == 1).await;
        let (headers, body) = received.lock().unwrap()[0].clone();
        let attribute = |name: &str| match mode {
            EventsMode::Structured => body[name].as_str().unwrap().to_owned(),
            EventsMode::Binary => headers[&format!("ce-{name}")].to_str().unwrap().to_owned(),
        };
        assert_eq!(attribute("id"), answer["prediction_id"].as_str().unwrap());
        assert_eq!(
            (attribute("specversion"), attribute("type")),
            ("1.0".into(), "dev.refit.prediction.v1".into())
        );
        assert_eq!(attribute("source"), "/refit/models/toy/versions/1");
        assert!(attribute("time").parse::<Timestamp>().is_ok());
        assert!(attribute("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        let (kind, data) = match mode {
            EventsMode::Structured => ("application/cloudevents+json; charset=UTF-8", &body["data"]),
            EventsMode::Binary => ("application/json", &body),
        };
        assert_eq!(headers["content-type"], kind);
        assert_eq!((&data["text"], &data["label"]), (&json!("good film \u{e4}"), &json!("positive")));
        assert_eq!(data["kept"], "share");
        assert_eq!(service.metric(r#"refit_events_total{outcome="sent"}"#).await, Some(1.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_delays_no_answer() {
    // It accepts and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let home = Home::new().await;
    let service = serving(&home, |config| config.sampling.events = Some(address)).await;
    let started = Instant::now();
    let texts = vec!["good"; 100];
    for _ in 0..12 {
        let (status, _) = service.post("/v1/models/toy:predict", &json!({ "texts": texts })).await;
        assert_eq!(status, StatusCode::OK);
    }
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let dropped = service.metric(r#"refit_events_total{outcome="queue_full"}"#).await.unwrap();
    assert!((150.0..=200.0).contains(&dropped), "{dropped}");
    drop(listener);
}
