//! Who may ask, how often and how much; and how a request is told from others.

use std::{path::Path, time::Duration};

use crate::service::{Service, Toy, fixed};
use refit_inference::{NewToken, Scope};
use reqwest::{RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

const PREDICT: &str = "/v1/models/toy:predict";

fn token(name: &str, scopes: &[Scope], rate: Option<(f64, u32)>) -> NewToken {
    NewToken::make(name, scopes, rate).unwrap()
}

fn write(file: &Path, tokens: &[&NewToken]) {
    let lines: Vec<&str> = tokens.iter().map(|token| token.line.as_str()).collect();
    std::fs::write(file, lines.join("\n")).unwrap();
}

async fn answer(request: RequestBuilder) -> (StatusCode, HeaderMap, Value) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    (status, headers, serde_json::from_str(&text).unwrap_or(json!(text)))
}

fn predict(service: &Service, token: &str) -> RequestBuilder {
    let request = service.client.post(format!("{}{PREDICT}", service.url)).json(&json!({"text": "good"}));
    if token.is_empty() { request } else { request.bearer_auth(token) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_its_scopes_say_and_changes_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let asks = token("asks", &[Scope::Predict], None);
    let watches = token("watches", &[Scope::Metrics], None);
    write(&file, &[&asks, &watches]);
    let (service, _folder) = fixed(Toy::default(), |config| config.tokens = Some(file.clone())).await;

    let (status, headers, body) = answer(predict(&service, "")).await;
    assert_eq!(
        (status, &headers["www-authenticate"]),
        (StatusCode::UNAUTHORIZED, &"Bearer realm=\"refit\"".parse().unwrap())
    );
    assert_eq!(body["error"], "show a token: send the header Authorization: Bearer TOKEN");
    let (status, headers, _) = answer(predict(&service, "refit_0000")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    let basic = predict(&service, "").header("authorization", "Basic YTpi");
    assert_eq!(answer(basic).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(answer(predict(&service, &asks.token)).await.0, StatusCode::OK);

    let feedback = service.client.post(format!("{}/v1/feedback", service.url)).bearer_auth(&asks.token);
    let (status, headers, body) = answer(feedback.json(&json!({}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(headers["www-authenticate"].to_str().unwrap().contains("scope=\"feedback\""));
    assert_eq!(body["error"], "the token \"asks\" has not the scope \"feedback\" that this asks for");
    for (path, token, status) in [
        ("/v2/health/live", "", 200),
        ("/v2/health/ready", "", 200),
        ("/v2/models/toy/ready", "", 200),
        ("/openapi.json", "", 200),
        ("/metrics", "", 401),
        ("/metrics", asks.token.as_str(), 403),
        ("/metrics", watches.token.as_str(), 200),
        ("/v1/models", watches.token.as_str(), 403),
        ("/v1/models", asks.token.as_str(), 200),
        ("/nothing", "", 401),
    ] {
        let mut request = service.client.get(format!("{}{path}", service.url));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        assert_eq!(answer(request).await.0.as_u16(), status, "{path}");
    }

    // A new token in, the old one out, while the service runs.
    let next = token("asks", &[Scope::Predict, Scope::Admin], None);
    write(&file, &[&next]);
    service
        .until("the new token is good", async || {
            answer(predict(&service, &next.token)).await.0 == StatusCode::OK
        })
        .await;
    assert_eq!(answer(predict(&service, &asks.token)).await.0, StatusCode::UNAUTHORIZED);
    // A file that cannot be used changes nothing.
    std::fs::write(&file, "asks predict").unwrap();
    let failed = r#"refit_reloads_total{file="tokens",outcome="failed"}"#;
    let metrics = async || {
        let request = service.client.get(format!("{}/metrics", service.url)).bearer_auth(&next.token);
        answer(request).await.2.as_str().unwrap().to_owned()
    };
    service.until("it was read", async || metrics().await.contains(&format!("{failed} 1"))).await;
    assert_eq!(answer(predict(&service, &next.token)).await.0, StatusCode::OK);
    assert!(metrics().await.contains(r#"refit_requests_rejected_total{reason="unauthenticated"}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_tokens_that_is_wrong_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("artifact");
    Toy::default().write(&artifact);
    let file = folder.path().join("tokens");
    for (text, says) in [(None, "cannot be read"), (Some("x"), "line 1"), (Some("# none"), "no token")] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let mut config = crate::service::config(refit_inference::Source::Artifact(artifact.clone()));
        config.tokens = Some(file.clone());
        let Err(error) = refit_inference::Server::bind(config).await else { panic!("{text:?} was taken") };
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("file of tokens") && cause.contains(says), "{error}: {cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_has_a_rate_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let [one, two] = ["one", "two"].map(|name| token(name, &[Scope::Predict], None));
    let fast = token("fast", &[Scope::Predict], Some((1000.0, 1000)));
    write(&file, &[&one, &two, &fast]);
    let (service, _folder) = fixed(Toy::default(), |config| {
        config.tokens = Some(file.clone());
        config.limits.requests_per_second = Some(0.5);
        config.limits.burst = Some(3);
    })
    .await;
    for _ in 0..3 {
        assert_eq!(answer(predict(&service, &one.token)).await.0, StatusCode::OK);
    }
    let (status, headers, body) = answer(predict(&service, &one.token)).await;
    assert_eq!((status, &headers["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &"2".parse().unwrap()));
    assert!(
        body["error"].as_str().unwrap().starts_with("too many requests: the next may come in "),
        "{body}"
    );
    assert_eq!(answer(predict(&service, &two.token)).await.0, StatusCode::OK);
    for _ in 0..20 {
        assert_eq!(answer(predict(&service, &fast.token)).await.0, StatusCode::OK);
        assert_eq!(service.get("/v2/health/live").await.0, StatusCode::OK);
    }
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(answer(predict(&service, &one.token)).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_an_address_has_the_rate() {
    let (service, _folder) = fixed(Toy::default(), |config| {
        config.limits.requests_per_second = Some(0.1);
        config.limits.burst = Some(2);
    })
    .await;
    let statuses = [
        answer(predict(&service, "")).await.0,
        answer(predict(&service, "")).await.0,
        answer(predict(&service, "")).await.0,
    ];
    assert_eq!(statuses, [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_holds_no_more_than_it_may() {
    let (service, _folder) = fixed(Toy::default(), |config| {
        config.limits.texts = Some(2);
        config.limits.text_bytes = 100;
        config.limits.tokens = Some(6);
    })
    .await;
    let long = "x".repeat(101);
    for (body, status, says) in [
        (json!({"texts": ["a", "b"]}), 200, ""),
        (json!({"texts": ["a", "b", "c"]}), 422, "at most 2 texts, not 3"),
        (json!({"texts": ["a", long]}), 413, "text 1 has 101 bytes, and a text may have 100"),
        (json!({"text": "the film was good"}), 200, ""),
        (
            json!({"text": "the film was good and slow"}),
            413,
            "text 0 is too long: it has 8 tokens, and a text may have 6",
        ),
    ] {
        let (found, answered) = service.post(PREDICT, &body).await;
        assert_eq!(found.as_u16(), status, "{body}: {answered}");
        assert!(says.is_empty() || answered["error"].as_str().unwrap().contains(says), "{answered}");
    }
    assert_eq!(service.metric(r#"refit_requests_rejected_total{reason="too_large"}"#).await, Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_its_id_and_its_trace() {
    let (service, _folder) = fixed(Toy::default(), |_| {}).await;
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = predict(&service, "").header("x-request-id", "order-17").header("traceparent", caller);
    let (_, headers, _) = answer(request).await;
    assert_eq!(headers["x-request-id"], "order-17");
    let trace = headers["traceresponse"].to_str().unwrap();
    assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && !trace.contains("b7ad6b7169203331"));
    let mut ids = Vec::new();
    for bad in ["", "with blanks in it", &"x".repeat(129)] {
        let (_, headers, _) = answer(predict(&service, "").header("x-request-id", bad)).await;
        ids.push(headers["x-request-id"].to_str().unwrap().to_owned());
    }
    assert!(ids.iter().all(|id| id.len() == 36) && ids[0] != ids[1], "{ids:?}");
    // Refusals have one too.
    let missing = service.client.get(format!("{}/nothing", service.url)).header("x-request-id", "lost");
    let (status, headers, _) = answer(missing).await;
    assert_eq!((status, &headers["x-request-id"]), (StatusCode::NOT_FOUND, &"lost".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_grpc_reads_its_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    write(&file, &[&token("one", &[Scope::Predict], None)]);
    let (service, _folder) = fixed(Toy::default(), |config| config.tokens = Some(file.clone())).await;
    let call = service.client.post(format!("{}/inference.GRPCInferenceService/ModelInfer", service.url));
    let (status, headers, _) = answer(call.header("content-type", "application/grpc")).await;
    assert_eq!((status, &headers["grpc-status"]), (StatusCode::OK, &"16".parse().unwrap()));
    assert!(headers["grpc-message"].to_str().unwrap().replace("%20", " ").starts_with("show a token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_monitoring_address_asks_for_nothing_and_tells_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    write(&file, &[&token("one", &[Scope::Predict], None)]);
    let artifact = folder.path().join("artifact");
    Toy::default().write(&artifact);
    let mut config = crate::service::config(refit_inference::Source::Artifact(artifact));
    config.tokens = Some(file);
    config.monitoring = Some(([127, 0, 0, 1], 0).into());
    let server = refit_inference::Server::bind(config).await.unwrap();
    let url = format!("http://{}", server.monitoring_address().unwrap().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ended = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    for (path, status) in [("/v2/health/ready", 200), ("/metrics", 200), ("/v1/models", 404), (PREDICT, 404)]
    {
        assert_eq!(reqwest::get(format!("{url}{path}")).await.unwrap().status().as_u16(), status, "{path}");
    }
    stop.send(()).unwrap();
    ended.await.unwrap().unwrap();
}
