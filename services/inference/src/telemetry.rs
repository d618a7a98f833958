//! Sends a span for each request to a collector, by OTLP over HTTP.
//!
//! The SDK's thread batches them in a bounded queue and drops what does not fit; what is sent goes through the runtime's
//! own HTTP client. A collector that is away costs spans, never answers.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
        Tracer, TracerProvider,
    },
};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan},
};
use prometheus::{IntCounterVec, Opts};
use refit_metrics::Registry;
use refit_spec::TelemetrySpec;

use crate::{error::ServeError, layers::Trace};

/// Makes spans and sends them.
pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A span that ends with its request.
pub(crate) struct RequestSpan(SdkSpan);

const TIMEOUT: Duration = Duration::from_secs(5);

impl Telemetry {
    /// Needs a tokio runtime.
    pub fn start(spec: &TelemetrySpec, registry: &Registry) -> Result<Self, ServeError> {
        let client = Client {
            client: reqwest::Client::new(),
            runtime: tokio::runtime::Handle::current(),
            exports: register(registry)?,
        };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/traces", spec.endpoint))
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| ServeError::Telemetry(Box::new(error)))?;
        let resource = Resource::builder()
            .with_service_name(spec.service.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(spec.share))))
            .with_resource(resource)
            .build();
        Ok(Self { tracer: provider.tracer("refit"), provider })
    }

    /// Begins the span of a request; the request's place in its trace becomes that of the span.
    pub fn begin(&self, name: String, trace: &mut Trace, headers: &HeaderMap) -> RequestSpan {
        let parent = match trace.parent {
            Some(parent) => {
                let state = headers.get("tracestate").and_then(|state| state.to_str().ok()?.parse().ok());
                let flags = if trace.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
                Context::new().with_remote_span_context(SpanContext::new(
                    TraceId::from_bytes(trace.trace),
                    SpanId::from_bytes(parent),
                    flags,
                    true,
                    state.unwrap_or(TraceState::NONE),
                ))
            }
            None => Context::new(),
        };
        let span = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .start_with_context(&self.tracer, &parent);
        let context = span.span_context();
        trace.trace = context.trace_id().to_bytes();
        trace.span = context.span_id().to_bytes();
        trace.sampled = context.is_sampled();
        RequestSpan(span)
    }

    /// Sends what waits.
    pub async fn stop(&self) {
        let provider = self.provider.clone();
        let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(TIMEOUT)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

impl RequestSpan {
    /// Ends it, with what the request was and became, by OpenTelemetry's names for HTTP.
    pub fn end(
        &mut self,
        method: &Method,
        path: &str,
        route: Option<&str>,
        status: StatusCode,
        model: Option<&str>,
        request_id: &str,
    ) {
        let text = |key: &'static str, value: &str| KeyValue::new(key, value.to_owned());
        let mut attributes = vec![
            text("http.request.method", method.as_str()),
            text("url.path", path),
            KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
            text("refit.request_id", request_id),
        ];
        attributes.extend(route.map(|route| text("http.route", route)));
        attributes.extend(model.map(|model| text("refit.model", model)));
        self.0.set_attributes(attributes);
        if status.is_server_error() {
            self.0.set_status(Status::error(""));
        }
        self.0.end();
    }
}

fn register(registry: &Registry) -> Result<IntCounterVec, prometheus::Error> {
    let exports = IntCounterVec::new(
        Opts::new("refit_telemetry_exports_total", "Batches of spans by outcome: sent or failed."),
        &["outcome"],
    )?;
    registry.register(Box::new(exports.clone()))?;
    Ok(exports)
}

/// The service's HTTP client, for the SDK's thread that is no part of the runtime.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
    exports: IntCounterVec,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let request = self
            .client
            .request(head.method, head.uri.to_string())
            .headers(head.headers)
            .timeout(TIMEOUT)
            .body(body);
        let sent = self.runtime.spawn(async move {
            let answer = request.send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
        });
        let answer = sent.await?;
        let good = answer.as_ref().is_ok_and(|(status, ..)| status.is_success());
        self.exports.with_label_values(&[if good { "sent" } else { "failed" }]).inc();
        let (status, headers, body) = answer?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}
