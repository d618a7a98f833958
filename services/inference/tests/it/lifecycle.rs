//! Versions come and go while requests are answered; the service stops in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::service::{Home, Service, Toy, fixed};
use refit_inference::Server;
use refit_spec::DeviceChoice;
use refit_store::VersionStatus;
use reqwest::StatusCode;
use serde_json::{Value, json};

const SECOND: Toy =
    Toy { version: "2", sign: -1.0, labels: &["negative", "positive"], work: 0, embeds: false };
const THIRD: Toy =
    Toy { version: "3", sign: 1.0, labels: &["negative", "neutral", "positive"], work: 0, embeds: false };

async fn serving(home: &Home) -> Service {
    home.register(&Toy::default()).await;
    home.promote("1").await;
    let service = Service::start(home.config()).await;
    service.until_ready().await;
    service
}

fn served(version: &str, role: &str) -> String {
    format!(r#"refit_served_version{{model="toy",role="{role}",version="{version}"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_cannot_be_had_is_one_sentence_at_the_start() {
    let home = Home::new().await;
    let mut config = home.config();
    config.engines.onnxruntime_library = Some("/nowhere/libonnxruntime.so".into());
    config.engines.device = DeviceChoice::Cuda;
    let refused = Server::bind(config.clone()).await.err().map(|error| error.to_string());
    let sentence = "`serve.device` is \"cuda\", and no GPU can be used: ONNX Runtime is not available (the configuration \
                    names /nowhere/libonnxruntime.so, which is not a file: correct or remove it); `refit engine install \
                    onnxruntime --device cuda` installs the one for GPUs";
    assert_eq!(refused.as_deref(), Some(sentence));
    // What is not insisted on falls back.
    config.engines.device = DeviceChoice::Auto;
    assert!(Server::bind(config).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_once_something_is_deployed() {
    let home = Home::new().await;
    let service = Service::start(home.config()).await;
    let (status, body) = service.get("/v2/health/ready").await;
    assert_eq!((status, &body["error"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("no model is ready yet")));
    assert_eq!(service.get("/v2/health/live").await.0, StatusCode::OK);
    home.register(&Toy::default()).await;
    home.promote("1").await;
    service.until_ready().await;
    assert_eq!(service.predict("good").await["label"], "positive");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_swap_under_load_fails_no_request() {
    let home = Home::new().await;
    let service = Arc::new(serving(&home).await);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (service, over) = (Arc::clone(&service), Arc::clone(&over));
            tokio::spawn(async move {
                let mut versions: Vec<(Value, Value)> = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let answer = service.predict("good film").await;
                    versions.push((answer["version"].clone(), answer["label"].clone()));
                }
                versions
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(150)).await;
    for toy in [SECOND, THIRD] {
        home.register(&toy).await;
        home.promote(toy.version).await;
        let series = served(toy.version, "champion");
        service.until("it serves", async || service.metric(&series).await == Some(1.0)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        let answers = client.await.unwrap();
        // Each version answers as itself, and none answers after its successor.
        let versions: Vec<&str> = answers.iter().map(|(version, _)| version.as_str().unwrap()).collect();
        assert!(versions.is_sorted() && versions.contains(&"1") && versions.contains(&"3"), "{versions:?}");
        for (version, label) in &answers {
            let expected = if version == "2" { "negative" } else { "positive" };
            assert_eq!(label, expected, "of version {version}");
        }
    }
    assert_eq!(service.metric(&served("1", "champion")).await, None);
    assert_eq!(service.metric(r#"refit_model_swaps_total{model="toy"}"#).await, Some(2.0));
    let failed = service.metrics().await;
    let codes: Vec<&str> = failed.lines().filter(|line| line.starts_with("refit_requests_total")).collect();
    assert_eq!(codes.len(), 1, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_artifact_leaves_the_old_version_serving() {
    let home = Home::new().await;
    let service = serving(&home).await;
    home.register(&SECOND).await;
    let tokenizer = refit_store::Store::artifact_dir(home.folder.path(), "toy", "2").join("tokenizer.json");
    std::fs::write(&tokenizer, "{}").unwrap();
    home.promote("2").await;
    let failures = r#"refit_model_load_failures_total{model="toy",version="2"}"#;
    service.until("it has failed", async || service.metric(failures).await == Some(1.0)).await;
    assert_eq!(service.predict("good").await["version"], "1");
    assert_eq!(service.get("/v2/health/ready").await.0, StatusCode::OK);
    assert_eq!(service.metric(&served("1", "champion")).await, Some(1.0));
    home.register(&THIRD).await;
    home.promote("3").await;
    let third = served("3", "champion");
    service.until("the next one serves", async || service.metric(&third).await == Some(1.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_gets_its_share_and_keys_stay_with_it() {
    let home = Home::new().await;
    let service = serving(&home).await;
    home.register(&THIRD).await;
    home.canary("3", 30.0).await;
    let canary = served("3", "canary");
    service.until("the canary serves", async || service.metric(&canary).await == Some(1.0)).await;

    let version_for = async |key: &str| {
        let request = service.client.post(format!("{}/v1/models/toy:predict", service.url));
        let response =
            request.header("x-refit-key", key).json(&json!({"text": "good"})).send().await.unwrap();
        response.json::<Value>().await.unwrap()["version"].as_str().unwrap().to_owned()
    };
    let mut chosen = Vec::new();
    for key in 0..200 {
        let key = format!("user-{key}");
        let version = version_for(&key).await;
        assert_eq!(version, version_for(&key).await);
        if version == "3" {
            chosen.push(key);
        }
    }
    // Five standard deviations of 200 draws at 0.3 are 32.
    assert!((28..=92).contains(&chosen.len()), "{}", chosen.len());
    home.canary("3", 60.0).await;
    let percent = json!(60.0);
    service
        .until("the share has grown", async || {
            service.get("/v1/models/toy").await.1["canary"]["percent"] == percent
        })
        .await;
    for key in &chosen {
        assert_eq!(version_for(key).await, "3");
    }
    // One request, two versions with different labels.
    let texts: Vec<String> = (0..40).map(|number| format!("good {number}")).collect();
    let input = json!({"inputs": [{"name": "text", "shape": [40], "datatype": "BYTES", "data": texts}]});
    let (_, mixed) = service.post("/v2/models/toy/infer", &input).await;
    assert_eq!(mixed["outputs"][1]["shape"], json!([40, 3]));
    assert_eq!(mixed.get("model_version"), None);

    let generation = home.store.deployment("toy").await.unwrap().generation;
    home.store.clear_canary("toy", generation, VersionStatus::RolledBack).await.unwrap();
    service.until("the canary is gone", async || service.metric(&canary).await.is_none()).await;
    assert_eq!(version_for(&chosen[0]).await, "1");
}

/// The memory that this process holds, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

#[cfg(target_os = "linux")]
/// In a process of its own: the memory of the other tests is none of its business.
#[test]
fn memory_is_the_same_after_a_thousand_swaps_under_load() {
    const NAME: &str = "lifecycle::memory_is_the_same_after_a_thousand_swaps_under_load";
    const ALONE: &str = "REFIT_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        tokio::runtime::Runtime::new().unwrap().block_on(a_thousand_swaps());
        return;
    }
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", NAME, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

async fn a_thousand_swaps() {
    let home = Home::new().await;
    // Four megabytes of weights: a version that stayed would show after some swaps.
    for version in ["1", "2"] {
        home.register(&Toy { version, work: 16, ..Toy::default() }).await;
    }
    home.promote("1").await;
    let mut config = home.config();
    config.poll = Duration::from_millis(1);
    let service = Service::start(config).await;
    service.until_ready().await;
    let over = Arc::new(AtomicBool::new(false));
    let client = {
        let (over, http) = (Arc::clone(&over), service.client.clone());
        let url = format!("{}/v1/models/toy:predict", service.url);
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let response = http.post(&url).json(&json!({"text": "good"})).send().await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    let swaps = r#"refit_model_swaps_total{model="toy"}"#;
    // The least that is held after any of a hundred swaps: a single look catches now one version, now two.
    let [mut before, mut after] = [f64::INFINITY; 2];
    for swap in 1..=1000 {
        home.promote(if swap % 2 == 0 { "1" } else { "2" }).await;
        while service.metric(swaps).await.unwrap_or(0.0) < f64::from(swap) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The first four hundred fill what is kept for good: threads, connections, the store's pages.
        match swap {
            401..=500 => before = before.min(resident()),
            901.. => after = after.min(resident()),
            _ => {}
        }
    }
    over.store(true, Ordering::Relaxed);
    client.await.unwrap();
    // In between 500 versions of four megabytes came and went. A hundredth of that is more than what the allocator, the
    // client and the store's pages move by (six megabytes at the most), and 40 kB of each version.
    let most = 500.0 * 4e6 / 100.0;
    assert!(after < before + most, "{after} after, {before} before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_under_way() {
    let slow = Toy { work: 400, ..Toy::default() };
    let (service, _folder) = fixed(slow, |config| {
        config.workers = 1;
        config.drain.delay = Duration::from_millis(400);
    })
    .await;
    let (client, url) = (service.client.clone(), service.url.clone());
    let texts = vec!["good ".repeat(60); 15];
    let predict = client.post(format!("{url}/v1/models/toy:predict"));
    let request = tokio::spawn(predict.json(&json!({ "texts": texts })).send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!request.is_finished(), "the toy is too quick for this test");
    let ended = service.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Readiness has fallen, and it still answers.
    let ready = client.get(format!("{url}/v2/health/ready")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.json::<Value>().await.unwrap()["predictions"].as_array().unwrap().len(), 15);
    ended.await.unwrap().unwrap();
    assert!(client.get(format!("{url}/v2/health/live")).send().await.unwrap_err().is_connect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_writes_what_was_recorded() {
    let home = Home::new().await;
    home.register(&Toy::default()).await;
    home.promote("1").await;
    let mut config = home.config();
    config.record.interval = Duration::from_secs(5);
    let service = Service::start(config).await;
    service.until_ready().await;
    for number in 0..20 {
        service.predict(&format!("good {number}")).await;
    }
    service.stop().await.unwrap().unwrap();
    assert_eq!(home.store.count_predictions("toy", jiff::Timestamp::UNIX_EPOCH).await.unwrap(), 20);
}
