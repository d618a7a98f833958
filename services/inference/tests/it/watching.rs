//! What is watched: drift against the reference, accuracy from feedback, and what is recorded.

use crate::service::{Home, Service, Toy, fixed};
use jiff::Timestamp;
use refit_store::LabelledQuery;
use reqwest::StatusCode;
use serde_json::{Value, json};

const ACCURACY: &str = r#"refit_live_accuracy{model="toy",version="1"}"#;

fn psi(feature: &str) -> String {
    format!(r#"refit_drift_psi{{feature="{feature}",model="toy",version="1"}}"#)
}

fn drifted(feature: &str) -> String {
    format!(r#"refit_drift_detected{{feature="{feature}",model="toy",version="1"}}"#)
}

/// Texts with the lengths, words and sentiments of the toy's reference.
fn usual(number: usize) -> String {
    let words = ["good", "bad"][number % 2];
    let length = 5 + (number * 13) % 21;
    let mut text = words.to_owned();
    while text.len() + 5 <= length {
        text.push_str(" film");
    }
    while text.len() < length {
        text.push(' ');
    }
    text
}

async fn send(service: &Service, texts: Vec<String>) {
    for chunk in texts.chunks(100) {
        let (status, body) = service.post("/v1/models/toy:predict", &json!({ "texts": chunk })).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_shows_in_what_has_changed_and_only_there() {
    let (service, _folder) = fixed(Toy::default(), |config| {
        config.monitor.window_observations = 400;
    })
    .await;
    // No data is not "no drift".
    assert_eq!(service.metric(&psi("text_length")).await, None);
    send(&service, (0..20).map(usual).collect()).await;
    assert_eq!(service.metric(&psi("text_length")).await, None);
    let window = r#"refit_drift_window_observations{model="toy",version="1"}"#;
    assert_eq!(service.metric(window).await, Some(20.0));

    send(&service, (0..400).map(usual).collect()).await;
    for feature in ["text_length", "unknown_token_rate", "predicted_class"] {
        assert_eq!(service.metric(&drifted(feature)).await, Some(0.0), "{feature}");
    }
    let changed = (0..400).map(|number| format!("{} whatever zzz {}", usual(number), "good film ".repeat(4)));
    send(&service, changed.collect()).await;
    assert_eq!(service.metric(window).await, Some(400.0));
    for feature in ["text_length", "unknown_token_rate"] {
        assert_eq!(service.metric(&drifted(feature)).await, Some(1.0), "{feature}");
        assert!(service.metric(&psi(feature)).await.unwrap() > 0.5);
        let p = psi(feature).replace("psi", "p_value");
        assert!(service.metric(&p).await.unwrap() < 1e-6);
    }
    // The counters hold everything, in the bins of the reference.
    let all = service.metrics().await;
    let sum = |prefix: &str| -> f64 {
        let of_class =
            all.lines().filter(|line| line.starts_with(prefix) && line.contains(r#""predicted_class""#));
        of_class.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    assert_eq!((sum("refit_observations_total"), sum("refit_reference_observations")), (820.0, 1000.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_come_late_make_live_accuracy() {
    let home = Home::new().await;
    home.register(&Toy::default()).await;
    home.promote("1").await;
    let mut config = home.config();
    config.monitor.accuracy_labels = 10;
    // Feedback may come before its prediction was written.
    config.record.interval = std::time::Duration::from_millis(300);
    let service = Service::start(config).await;
    service.until_ready().await;
    assert_eq!(service.metric(ACCURACY).await, None);

    let texts: Vec<String> = (0..20).map(|number| format!("good film {number}")).collect();
    let (_, answers) = service.post("/v1/models/toy:predict", &json!({ "texts": texts })).await;
    let ids: Vec<&Value> =
        answers["predictions"].as_array().unwrap().iter().map(|answer| &answer["prediction_id"]).collect();
    let first = json!({"prediction_id": ids[0], "label": "positive"});
    let (status, body) = service.post("/v1/feedback", &first).await;
    assert_eq!((status, &body["correct"]), (StatusCode::OK, &json!(true)));
    assert_eq!(service.metric(ACCURACY).await, Some(1.0));

    let mut rest: Vec<Value> =
        ids[1..].iter().map(|id| json!({"prediction_id": id, "label": "a label never seen"})).collect();
    rest.push(first);
    let (status, body) = service.post("/v1/feedback", &json!(rest)).await;
    assert_eq!((status, &body["accepted"]), (StatusCode::OK, &json!(19)));
    assert_eq!((&body["refused"][0]["index"], &body["refused"][0]["status"]), (&json!(19), &json!(409)));
    // The latest ten labels were all wrong.
    assert_eq!(service.metric(ACCURACY).await, Some(0.0));
    assert_eq!(service.metric(r#"refit_live_accuracy_labels{model="toy",version="1"}"#).await, Some(10.0));
    let upper = service.metric(r#"refit_live_accuracy_upper{model="toy",version="1"}"#).await.unwrap();
    // Wilson's interval of 0 of 10 at 95 %: z^2 / (n + z^2).
    assert!((upper - 3.8415 / 13.8415).abs() < 1e-4, "{upper}");
    let feedback =
        |outcome: &str| format!(r#"refit_feedback_total{{model="toy",outcome="{outcome}",version="1"}}"#);
    assert_eq!(service.metric(&feedback("wrong")).await, Some(19.0));
    assert_eq!(service.metric(&feedback("correct")).await, Some(1.0));

    let query = LabelledQuery { model: "toy", version: None, after: 0, predicted_since: None, limit: 100 };
    let rows = home.store.labelled_rows(query).await.unwrap();
    assert_eq!(rows.len(), 20);
    assert_eq!((rows[0].text.as_str(), rows[0].predicted.as_str()), ("good film 0", "positive"));
}

#[tokio::test(flavor = "multi_thread")]
async fn predictions_that_cannot_be_kept_are_counted_and_answered_all_the_same() {
    let home = Home::new().await;
    home.register(&Toy::default()).await;
    home.promote("1").await;
    let mut config = home.config();
    config.record.queue_bytes = 1000;
    config.record.interval = std::time::Duration::from_secs(30);
    let service = Service::start(config).await;
    service.until_ready().await;
    send(&service, vec!["good film".repeat(10); 100]).await;
    let dropped = service.metric(r#"refit_predictions_dropped_total{reason="queue_full"}"#).await.unwrap();
    assert!((80.0..100.0).contains(&dropped), "{dropped}");
    assert_eq!(service.metric(r#"refit_predictions_total{model="toy",version="1"}"#).await, Some(100.0));
    let (status, _) = service.post("/v1/feedback", &json!({"prediction_id": "x", "label": "y"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let stored = home.store.count_predictions("toy", Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(stored as f64 + dropped, 100.0);
}
