//! Spans of requests at a collector, which reads them as the protocol's own messages.

use std::sync::{Arc, Mutex};

use crate::service::{Toy, fixed};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, header},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use refit_spec::TelemetrySpec;
use reqwest::StatusCode;
use serde_json::json;

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

async fn collector() -> (String, Received) {
    let received = Received::default();
    let take = async |State(received): State<Received>, headers: HeaderMap, body: Bytes| {
        assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
        received.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        let answer = ExportTraceServiceResponse::default().encode_to_vec();
        ([(header::CONTENT_TYPE, "application/x-protobuf")], answer)
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    (address, received)
}

fn text(span: &Span, key: &str) -> String {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key).unwrap();
    match attribute.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_a_span_of_its_callers_trace() {
    let (endpoint, received) = collector().await;
    let spec = TelemetrySpec { endpoint, share: 1.0, service: "toys".into() };
    let (service, _folder) = fixed(Toy::default(), |config| config.telemetry = Some(spec)).await;
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let url = format!("{}/v1/models/toy:predict", service.url);
    let request = service.client.post(&url).header("traceparent", caller).header("x-request-id", "order-17");
    let answer = request.json(&json!({"text": "good"})).send().await.unwrap();
    let seen = answer.headers()["traceresponse"].to_str().unwrap().to_owned();
    // The caller decided that this trace is not recorded.
    let not_recorded = caller.replace("-01", "-00");
    let request = service.client.post(&url).header("traceparent", not_recorded);
    request.json(&json!({"text": "good"})).send().await.unwrap();
    // One that begins here, and is refused.
    assert_eq!(service.post("/v1/models/nobody:predict", &json!({})).await.0, StatusCode::NOT_FOUND);
    service.stop().await.unwrap().unwrap();

    let received = received.lock().unwrap();
    let resource = &received[0].resource_spans[0].resource.as_ref().unwrap().attributes;
    assert!(resource.iter().any(|it| it.key == "service.name" && format!("{it:?}").contains("toys")));
    let spans: Vec<&Span> = received
        .iter()
        .flat_map(|request| &request.resource_spans)
        .flat_map(|of| &of.scope_spans)
        .flat_map(|of| &of.spans)
        .collect();
    assert_eq!(spans.len(), 2, "{spans:?}");
    let span = spans[0];
    let ids = format!("00-{}-{}-01", hex::encode(&span.trace_id), hex::encode(&span.span_id));
    assert_eq!((ids, hex::encode(&span.parent_span_id)), (seen, "b7ad6b7169203331".into()));
    assert_eq!((span.name.as_str(), span.kind), ("POST /v1/models/{name}", SpanKind::Server as i32));
    assert_eq!(text(span, "http.response.status_code"), "200");
    assert_eq!(text(span, "url.path"), "/v1/models/toy:predict");
    assert_eq!(
        (text(span, "refit.model"), text(span, "refit.request_id")),
        ("toy".into(), "order-17".into())
    );
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    assert_eq!(
        (spans[1].parent_span_id.len(), text(spans[1], "http.response.status_code")),
        (0, "404".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_only() {
    let spec = TelemetrySpec { endpoint: "http://127.0.0.1:9".into(), share: 1.0, service: "toys".into() };
    let (service, _folder) = fixed(Toy::default(), |config| config.telemetry = Some(spec)).await;
    for _ in 0..50 {
        service.predict("good").await;
    }
    let failed = r#"refit_telemetry_exports_total{outcome="failed"}"#;
    service
        .until("it was tried", async || service.metric(failed).await.is_some_and(|count| count >= 1.0))
        .await;
    service.predict("good").await;
    service.stop().await.unwrap().unwrap();
}
