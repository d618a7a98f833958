//! What other servers' clients ask: KServe's first protocol, SageMaker's, and compressed bodies.

use std::{io::Write, time::Duration};

use crate::service::{Home, Service, Toy, fixed};
use flate2::{Compression, write::GzEncoder};
use reqwest::StatusCode;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn kserve_instances_are_answered_as_texts() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let body = json!({"instances": ["good film", {"text": "bad film"}]});
    let (status, answer) = service.post("/v1/models/toy:predict", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let labels: Vec<&Value> =
        answer["predictions"].as_array().unwrap().iter().map(|it| &it["label"]).collect();
    assert_eq!(labels, ["positive", "negative"]);
    for bad in [json!([]), json!([{"txt": "a"}]), json!([1]), json!("good")] {
        let (status, _) = service.post("/v1/models/toy:predict", &json!({ "instances": bad })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
    let (_, model) = service.get("/v1/models/toy").await;
    assert_eq!((&model["name"], &model["ready"]), (&json!("toy"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sagemaker_invokes_the_model() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    assert_eq!(service.get("/ping").await.0, StatusCode::OK);
    let invoke = async |kind: &'static str, target: &'static str, body: &'static str| {
        let request =
            service.client.post(format!("{}/invocations", service.url)).header("content-type", kind);
        let request = request.header("x-amzn-sagemaker-target-model", target).body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, answer) = invoke("application/json", "toy", r#"{"instances": ["bad film"]}"#).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["predictions"][0]["label"]), (200, &json!("negative")));
    let (status, answer) = invoke("text/plain; charset=utf-8", "toy", "good film").await;
    assert_eq!((status, answer.contains(r#""label":"positive""#)), (200, true), "{answer}");
    let lines = "\"good film\"\n\n{\"text\": \"bad film\"}\n";
    let (status, answer) = invoke("application/jsonlines", "toy", lines).await;
    let labels: Vec<Value> =
        answer.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["label"].clone()).collect();
    assert_eq!((status, labels), (200, vec![json!("positive"), json!("negative")]));
    assert_eq!(invoke("text/csv", "toy", "good film").await.0, 415);
    assert_eq!(invoke("application/json", "nobody", "{}").await.0, 404);
    assert_eq!(invoke("application/jsonlines", "toy", "\n").await.0, 422);
    let alone = service.client.post(format!("{}/invocations", service.url)).json(&json!({"text": "good"}));
    assert_eq!(alone.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_inflated_up_to_the_limit() {
    let (service, _folder) = fixed(Toy::default(), |config| config.max_body_bytes = 4096).await;
    let send = async |text: &str| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(json!({ "text": text }).to_string().as_bytes()).unwrap();
        let request = service.client.post(format!("{}/v1/models/toy:predict", service.url));
        let request = request.header("content-type", "application/json").header("content-encoding", "gzip");
        let response = request.body(gzip.finish().unwrap()).send().await.unwrap();
        (response.status(), response.json::<Value>().await.unwrap())
    };
    let (status, answer) = send("good film").await;
    assert_eq!((status, &answer["label"]), (StatusCode::OK, &json!("positive")));
    // 100 kilobytes in some 150 bytes.
    let (status, answer) = send(&"good ".repeat(20_000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer["error"], "the request body is larger than 4096 bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_are_refused_where_there_are_none() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let (status, answer) =
        service.post("/v1/embeddings", &json!({"model": "toy", "input": "good film"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        answer["error"]["message"],
        "model \"toy\" is for text-classification and gives no embeddings"
    );
    assert_eq!(answer["error"]["type"], "invalid_request_error");
    let (status, answer) = service.post("/v1/embeddings", &json!({"model": "nobody", "input": "a"})).await;
    assert_eq!((status, &answer["error"]["type"]), (StatusCode::NOT_FOUND, &json!("invalid_request_error")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_begun_when_its_store_was_read_and_is_ready_when_a_model_answers() {
    let home = Home::new().await;
    let service = Service::start(home.config()).await;
    let begun = async || service.get("/v2/health/startup").await.0 == StatusCode::OK;
    service.until("the service has begun", begun).await;
    assert_eq!(service.get("/v2/health/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.get("/ping").await.0, StatusCode::SERVICE_UNAVAILABLE);
    home.register(&Toy::default()).await;
    home.promote("1").await;
    service.until_ready().await;
    let (status, index) = service.post("/v2/repository/index", &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(index, json!([{"name": "toy", "version": "1", "state": "READY", "reason": ""}]));
    home.register(&Toy { version: "2", ..Toy::default() }).await;
    let (_, index) = service.post("/v2/repository/index", &json!({})).await;
    assert_eq!(index[1]["state"], "UNAVAILABLE");
    assert_eq!(index[1]["reason"], "it is not deployed");
    let (_, index) = service.post("/v2/repository/index", &json!({"ready": true})).await;
    assert_eq!(index.as_array().unwrap().len(), 1);
    assert_eq!(service.post("/v2/repository/models/toy/load", &json!({})).await.0, StatusCode::OK);
    let (status, answer) = service.post("/v2/repository/models/toy/unload", &json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // It stays away, whatever the store says, until it is loaded by hand; the service itself is ready.
    let (_, index) = service.post("/v2/repository/index", &json!({})).await;
    assert_eq!((&index[0]["state"], &index[0]["reason"]), (&json!("UNAVAILABLE"), &json!("it was unloaded")));
    home.promote("2").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = service.post("/v1/models/toy:predict", &json!({"text": "good"})).await;
    assert_eq!(asked.0, StatusCode::SERVICE_UNAVAILABLE, "{}", asked.1);
    assert_eq!(service.get("/v2/models/toy/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.get("/v2/health/ready").await.0, StatusCode::OK);
    assert_eq!(service.post("/v2/repository/models/toy/load", &json!({})).await.0, StatusCode::OK);
    assert_eq!(service.predict("good").await["version"], "2");
    assert_eq!(service.get("/v1/models/toy").await.1["residence"], "pinned");
    assert_eq!(service.post("/v2/repository/models/none/load", &json!({})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(service.post("/v2/repository/models/none/unload", &json!({})).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_description_loads_nothing_from_elsewhere() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let response = service.client.get(format!("{}/docs", service.url)).timeout(Duration::from_secs(5));
    let response = response.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert!(
        response.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'")
    );
    let page = response.text().await.unwrap();
    assert!(page.contains("openapi.json") && !page.contains("http://") && !page.contains("https://"));
}
