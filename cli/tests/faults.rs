//! What goes wrong around a service that runs: it answers whom it can, loses nothing that it need not, and comes back.

mod served;
mod support;

use reqwest::StatusCode;
use serde_json::{Value, json};
use served::{Home, OUTSIDE, Toy, limit_open_files};
use sqlx::Connection;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SECOND: Toy =
    Toy { version: "2", sign: -1.0, labels: &["negative", "positive"], work: 0, embeds: false };

/// Asks until told to stop; how many were answered with 200, with something else, and not at all.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<[u64; 3]>>,
}

impl Load {
    fn start(home: &Home, clients: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|_| {
                let (over, client) = (Arc::clone(&over), home.client.clone());
                let url = format!("{}/v1/models/toy:predict", home.url);
                tokio::spawn(async move {
                    let mut counts = [0; 3];
                    while !over.load(Ordering::Relaxed) {
                        match client.post(&url).json(&json!({"text": "good film"})).send().await {
                            Ok(answer) if answer.status() == StatusCode::OK => counts[0] += 1,
                            Ok(_) => counts[1] += 1,
                            Err(_) => {
                                counts[2] += 1;
                                tokio::time::sleep(Duration::from_millis(5)).await;
                            }
                        }
                    }
                    counts
                })
            })
            .collect();
        Self { over, clients }
    }

    async fn stop(self) -> [u64; 3] {
        self.over.store(true, Ordering::Relaxed);
        let mut sum = [0; 3];
        for client in self.clients {
            let counts = client.await.expect("a client ends");
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        sum
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_it_comes_back_with_what_it_had_recorded() {
    let home = Home::new("").await;
    let mut service = home.serve().await;
    let load = Load::start(&home, 4);
    home.until("something is stored", &service, async || home.stored().await > 200).await;
    service.kill();
    let stored = home.stored().await;
    let restarted = Instant::now();
    let mut service = home.serve().await;
    assert!(restarted.elapsed() < Duration::from_secs(10));
    home.until("it stores again", &service, async || home.stored().await > stored + 100).await;
    // Until the model is loaded again there is no answer to give.
    let [answered, not_ready, lost] = load.stop().await;
    assert!(answered > 300 && lost > 0, "{answered} {not_ready} {lost}");
    service.stop();
    // What was answered is stored, but for what was under way or waited its tenth of a second at the kill.
    let missing = answered.saturating_sub(home.stored().await);
    assert!(missing < 2000, "{missing} of {answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_it_answers_and_a_kill_loses_nothing_that_was_on_disk() {
    let home = Home::new("").await;
    let mut service = home.serve().await;
    let lock = home.hang_store().await;
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut asked = 0;
    while started.elapsed() < Duration::from_secs(6) {
        let begun = Instant::now();
        let (status, answer) = home.predict(&format!("good {asked}")).await.expect("an answer");
        assert_eq!(status, StatusCode::OK, "{answer}");
        slowest = slowest.max(begun.elapsed());
        asked += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let spooled = "refit_predictions_spooled_total";
    home.until("all wait on disk", &service, async || home.metric(spooled).await == Some(f64::from(asked)))
        .await;
    assert_eq!(home.stored().await, 0);
    service.kill();
    lock.close().await.expect("the lock is given back");
    let mut service = home.serve().await;
    home.until("all are stored", &service, async || home.stored().await == u64::from(asked as u32)).await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_file_that_is_truncated_or_swapped_is_noticed_and_never_served() {
    let home = Home::new("").await;
    let mut service = home.serve().await;
    let model = home.artifact("1").join("model.float32.onnx");
    let whole = std::fs::read(&model).expect("readable");
    std::fs::write(&model, &whole[..whole.len() / 2]).expect("writable");
    // What is in memory is whole.
    let (status, answer) = home.predict("good film").await.expect("an answer");
    assert_eq!((status, &answer["label"]), (StatusCode::OK, &json!("positive")));

    // Another version, whose file is swapped for one that is a good model of its own.
    home.register(&SECOND).await;
    std::fs::write(home.artifact("2").join("model.float32.onnx"), &whole).expect("writable");
    home.promote("2").await;
    let failures = r#"refit_model_load_failures_total{model="toy",version="2"}"#;
    home.until("it has failed", &service, async || home.metric(failures).await == Some(1.0)).await;
    assert!(service.log().contains("model.float32.onnx"), "{}", service.log());
    assert_eq!(home.predict("good film").await.expect("an answer").1["version"], "1");
    service.stop();

    // After a restart there is nothing that could be served; it says so, and lives.
    home.promote("1").await;
    let mut service = home.start();
    let failures = failures.replace("\"2\"", "\"1\"");
    home.until("it has failed", &service, async || home.metric(&failures).await == Some(1.0)).await;
    assert_eq!(home.get("/v2/health/ready").await.expect("an answer").0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(home.get("/v2/health/live").await.expect("an answer").0, StatusCode::OK);
    assert_eq!(home.predict("good").await.expect("an answer").0, StatusCode::SERVICE_UNAVAILABLE);
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_of_a_newer_version_is_named_as_such() {
    let home = Home::new("").await;
    let mut service = home.serve().await;
    home.register(&SECOND).await;
    let path = home.artifact("2").join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
    manifest["schema_version"] = json!(99);
    manifest["something_new"] = json!({});
    std::fs::write(&path, manifest.to_string()).expect("writable");
    home.promote("2").await;
    let failures = r#"refit_model_load_failures_total{model="toy",version="2"}"#;
    home.until("it has failed", &service, async || home.metric(failures).await == Some(1.0)).await;
    assert!(service.log().contains("upgrade refit"), "{}", service.log());
    assert_eq!(home.predict("good film").await.expect("an answer").1["version"], "1");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_on_one_text_fails_that_text() {
    let home = Home::new("").await;
    let mut service = home.serve().await;
    for _ in 0..5 {
        let (status, answer) = home.predict(&format!("good {OUTSIDE}")).await.expect("an answer");
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer}");
        let (status, answer) = home.predict("good film").await.expect("an answer");
        assert_eq!((status, &answer["label"]), (StatusCode::OK, &json!("positive")));
    }
    let failures = r#"refit_prediction_failures_total{model="toy",version="1"}"#;
    assert_eq!(home.metric(failures).await, Some(5.0));
    assert!(service.is_running());
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_during_a_hot_swap_it_ends_in_order() {
    let home = Home::new("").await;
    let mut service = home.serve().await;
    // It takes a while to load.
    let slow = Toy { work: 300, ..SECOND };
    home.register(&slow).await;
    let load = Load::start(&home, 2);
    home.promote("2").await;
    tokio::time::sleep(Duration::from_millis(550)).await;
    let begun = Instant::now();
    service.stop();
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    let [answered, refused, _] = load.stop().await;
    assert!(answered > 0 && refused == 0, "{answered} {refused}");
    let log = service.log();
    assert!(log.contains("\"stopped\"") && !log.contains("panicked"), "{log}");
    let mut service = home.serve().await;
    assert_eq!(home.predict("good film").await.expect("an answer").1["version"], "2");
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_files_it_goes_on_with_the_connections_that_it_has() {
    let home = Home::new("").await;
    let mut service = home.serve().await;
    assert_eq!(home.predict("good").await.expect("an answer").0, StatusCode::OK);
    let before = std::fs::read_to_string(format!("/proc/{}/limits", service.id())).expect("readable");
    let before = before.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let before: usize = before.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    let open = std::fs::read_dir(format!("/proc/{}/fd", service.id())).expect("readable").count();
    limit_open_files(service.id(), open + 2);
    let address = home.url.strip_prefix("http://").expect("an address").to_owned();
    let waiting: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(&address).expect("the backlog takes it")).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The client's connection is still open, and is answered. The client has it back a moment after an answer: one that
    // it opened in its place would wait behind those above.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(home.predict("good film").await.expect("an answer").0, StatusCode::OK);
    }
    assert!(service.log().contains("no connection can be taken now"), "{}", service.log());
    limit_open_files(service.id(), before);
    drop(waiting);
    let fresh = reqwest::Client::new();
    home.until("a new connection is taken", &service, async || {
        let request = fresh.get(format!("{}/v2/health/ready", home.url)).timeout(Duration::from_secs(2));
        request.send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
    })
    .await;
    assert!(home.metric("refit_accept_failures_total").await.is_some_and(|count| count >= 1.0));
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_no_answer() {
    let home = Home::new("limits = { connections = 12000, header_timeout = \"600s\" }").await;
    let mut service = home.serve().await;
    let address = home.url.strip_prefix("http://").expect("an address").to_owned();
    let mut idle = Vec::new();
    while idle.len() < 10_000 {
        match TcpStream::connect(&address) {
            Ok(stream) => idle.push(stream),
            // This process may open no more files: as many as allowed.
            Err(error) if error.raw_os_error() == Some(24) => break,
            Err(error) => panic!("after {} connections: {error}", idle.len()),
        }
    }
    // Leave files for those that ask.
    idle.truncate(idle.len().min(10_000).saturating_sub(if idle.len() < 10_000 { 50 } else { 0 }));
    let most = idle.len() as f64;
    eprintln!("{most} idle connections");
    home.until("all are taken", &service, async || {
        home.metric("refit_connections").await.is_some_and(|open| open >= most)
    })
    .await;
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        assert_eq!(home.predict("good film").await.expect("an answer").0, StatusCode::OK);
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // None was closed to make room.
    let last = idle.last_mut().expect("some");
    last.set_nonblocking(true).expect("possible");
    let read = last.read(&mut [0; 1]);
    assert!(read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{read:?}");
    let begun = Instant::now();
    service.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
