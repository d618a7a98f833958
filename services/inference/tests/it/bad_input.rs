//! Bad input: the right status, one clear sentence, and the service goes on.

use crate::service::{Home, Service, Toy, config, fixed};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

struct Case<'a> {
    method: Method,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: Vec<u8>,
    status: u16,
    says: &'a str,
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn post<'a>(path: &'a str, body: impl AsRef<[u8]>, status: u16, says: &'a str) -> Case<'a> {
    Case { method: Method::POST, path, headers: JSON, body: body.as_ref().to_vec(), status, says }
}

async fn check(service: &Service, case: Case<'_>) {
    let what = format!(
        "{} {} {}",
        case.method,
        case.path,
        String::from_utf8_lossy(&case.body[..case.body.len().min(90)])
    );
    let mut request =
        service.client.request(case.method, format!("{}{}", service.url, case.path)).body(case.body);
    for (name, value) in case.headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: not JSON: {text}"));
    let error = body["error"].as_str().unwrap_or_else(|| panic!("{what}: no error in {body}"));
    assert!(status.as_u16() == case.status && error.contains(case.says), "{what}: {status} {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions() {
    const PREDICT: &str = "/v1/models/toy:predict";
    let (service, _folder) = fixed(Toy::default(), |config| {
        config.max_body_bytes = 4096;
        config.queue = 8;
    })
    .await;
    let form = &[("content-type", "application/x-www-form-urlencoded")];
    let zipped = &[("content-type", "application/json"), ("content-encoding", "gzip")];
    let brotli = &[("content-type", "application/json"), ("content-encoding", "br")];
    let large = json!({ "text": "x".repeat(5000) }).to_string();
    let nine = json!({ "texts": vec!["x"; 9] }).to_string();
    let cases = [
        post(PREDICT, "{\"text\": \"good", 400, "not JSON"),
        post(PREDICT, "", 400, "not JSON"),
        post(PREDICT, b"{\"text\": \"\xff\"}", 400, "not JSON"),
        post(PREDICT, "{\"text\": 5}", 422, "expected a string"),
        post(PREDICT, "[1, 2]", 422, "not of the right shape"),
        post(PREDICT, "{}", 422, "send {\"text\": \"...\"}"),
        post(PREDICT, "{\"text\": \"a\", \"texts\": [\"b\"]}", 422, "send {\"text\": \"...\"}"),
        post(PREDICT, "{\"text\": \"a\", \"pairs\": [\"b\"]}", 422, "send \"pair\" with one text"),
        post(PREDICT, "{\"texts\": [\"a\", \"b\"], \"pairs\": [\"c\"]}", 422, "2 texts and 1 pairs"),
        post(PREDICT, "{\"txt\": \"a\"}", 422, "unknown field `txt`"),
        post(PREDICT, "{\"texts\": []}", 422, "the list of texts is empty"),
        post(PREDICT, nine, 422, "at most 8 texts, not 9"),
        post(PREDICT, &large, 413, "larger than 4096 bytes"),
        Case { headers: form, ..post(PREDICT, "text=good", 415, "Content-Type: application/json") },
        Case {
            headers: zipped,
            ..post(PREDICT, "{\"text\": \"a\"}", 400, "not what Content-Encoding says: gzip")
        },
        Case { headers: brotli, ..post(PREDICT, "{\"text\": \"a\"}", 415, "may be gzip or deflate") },
        Case { method: Method::GET, ..post(PREDICT, "", 405, "POST to /v1/models/toy:predict") },
        Case { method: Method::DELETE, ..post(PREDICT, "", 405, "does not take DELETE") },
        post("/v1/models/toy", "{}", 405, "POST to /v1/models/toy:predict"),
        post("/v1/models/nobody:predict", "{\"text\": \"a\"}", 404, "there is no model \"nobody\""),
        post("/v1/model", "{}", 404, "there is nothing at /v1/model"),
        post("/v1/models/%ff:predict", "{}", 400, "the path is not UTF-8"),
        post("/v1/feedback", "{}", 404, "without a store"),
        Case { method: Method::GET, ..post("/v2/models/nobody", "", 404, "there is no model \"nobody\"") },
        Case { method: Method::GET, ..post("/v2/models/toy/versions/9", "", 404, "version \"9\"") },
    ];
    for case in cases {
        check(&service, case).await;
    }
    let chunked = service
        .client
        .post(format!("{}{PREDICT}", service.url))
        .header("content-type", "application/json")
        .header("transfer-encoding", "chunked")
        .body(large);
    assert_eq!(chunked.send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(service.predict("good film").await["label"], "positive");
    assert_eq!(service.metric(r#"refit_requests_total{code="422",model="toy"}"#).await, Some(9.0));
    assert_eq!(service.metric(r#"refit_requests_total{code="404",model=""}"#).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_inference_protocol() {
    const INFER: &str = "/v2/models/toy/infer";
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let input = |change: Value| {
        let mut input = json!({"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]});
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "inputs": [input] }).to_string()
    };
    let no_data = json!({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES"}]}).to_string();
    let output = json!({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}],
                        "outputs": [{"name": "scores"}]});
    let deep = (0..20).fold(json!("x"), |inner, _| json!([inner]));
    let cases = [
        post(INFER, "{", 400, "not JSON"),
        post(INFER, "{}", 422, "missing field `inputs`"),
        post(INFER, "{\"inputs\": []}", 422, "the input \"text\" is missing"),
        post(
            INFER,
            input(json!({"name": "ids"})),
            422,
            "the inputs are \"text\" and \"pair\", or \"input_ids\", \"attention_mask\" and \"token_type_ids\", not \"ids\"",
        ),
        post(INFER, input(json!({"datatype": "FP32"})), 422, "BYTES, not FP32"),
        post(INFER, input(json!({"shape": [2]})), 422, "does not have the 1 texts sent"),
        post(INFER, input(json!({"shape": [u64::MAX, 3]})), 422, "does not have the 1 texts sent"),
        post(INFER, input(json!({"shape": [-1]})), 422, "not of the right shape"),
        post(INFER, input(json!({"shape": [0], "data": []})), 422, "no text to answer"),
        post(INFER, input(json!({"data": [7]})), 422, "must be strings"),
        post(INFER, input(json!({"data": deep})), 422, "must be strings"),
        post(INFER, no_data, 422, "has no data"),
        post(INFER, output.to_string(), 422, "no output \"scores\""),
        post(INFER, input(json!({"parameters": {"binary_data_size": 5}})), 400, "but 0 bytes follow"),
        post("/v2/models/toy/versions/9/infer", input(json!({})), 404, "version \"9\" of model \"toy\""),
        post("/v2/models/nobody/infer", input(json!({})), 404, "there is no model \"nobody\""),
    ];
    for case in cases {
        check(&service, case).await;
    }
    for length in ["-1", "999", "x"] {
        let headers = &[("inference-header-content-length", length)];
        let case = Case { headers, ..post(INFER, "{}", 400, "Inference-Header-Content-Length") };
        check(&service, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback() {
    const FEEDBACK: &str = "/v1/feedback";
    let home = Home::new().await;
    home.register(&Toy::default()).await;
    home.promote("1").await;
    let service = Service::start(home.config()).await;
    service.until_ready().await;
    let given = service.predict("good").await["prediction_id"].as_str().unwrap().to_owned();
    let (status, _) = service.post(FEEDBACK, &json!({"prediction_id": given, "label": "positive"})).await;
    assert_eq!(status, StatusCode::OK);
    let twice = json!({"prediction_id": given, "label": "positive"}).to_string();
    let cases = [
        post(FEEDBACK, "x", 400, "not JSON"),
        post(FEEDBACK, "{\"prediction_id\": 1, \"label\": \"a\"}", 422, "send {\"prediction_id\""),
        post(FEEDBACK, "{\"prediction_id\": \"a\", \"label\": \" \"}", 422, "the label is empty"),
        post(FEEDBACK, "{\"prediction_id\": \"a\", \"label\": \"b\"}", 404, "no prediction has the id \"a\""),
        post(
            FEEDBACK,
            "[{\"prediction_id\": \"a\", \"label\": \"b\"}]",
            404,
            "none of the labels was recorded",
        ),
        post(FEEDBACK, twice, 409, "has its label already"),
        Case { method: Method::GET, ..post(FEEDBACK, "", 405, "does not take GET") },
    ];
    for case in cases {
        check(&service, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_an_artifact_that_is_damaged() {
    let (service, folder) = fixed(Toy::default(), |_| {}).await;
    let mut taken = config(refit_inference::Source::Artifact(folder.path().join("artifact")));
    taken.address = service.url.strip_prefix("http://").unwrap().parse().unwrap();
    let Err(error) = refit_inference::Server::bind(taken).await else { panic!("the port was taken") };
    assert!(error.to_string().contains("is in use by another process: stop that one"), "{error}");

    let model = folder.path().join("artifact").join("model.float32.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let damaged = config(refit_inference::Source::Artifact(folder.path().join("artifact")));
    let Err(error) = refit_inference::Server::bind(damaged).await else { panic!("it was served") };
    assert!(
        matches!(&error, refit_inference::ServeError::Load(refit_inference::LoadError::Artifact(_))),
        "{error}"
    );
}
