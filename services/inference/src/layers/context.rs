//! Gives every request an id and a place in a trace, and logs it without its payload.
//!
//! What the caller sends as `x-request-id` is kept, so that one id goes through all services; the answer carries it.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::Instrument;
use uuid::Uuid;

use super::{count::ModelLabel, trace::Trace};
use crate::app::App;

/// Who is at the other end; in the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub SocketAddr);

/// What is known of the request that a task answers.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    pub id: Arc<str>,
    pub trace: Trace,
}

tokio::task_local! {
    static CURRENT: RequestContext;
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

impl RequestContext {
    /// That of the request that this task answers, if it answers one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }
}

pub(crate) async fn begin(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let mut context = RequestContext { id: id(request.headers()), trace: Trace::of(request.headers()) };
    let mut exported = app.telemetry.as_ref().map(|telemetry| {
        let name = format!("{method} {}", route.as_deref().unwrap_or("(no route)"));
        telemetry.begin(name, &mut context.trace, request.headers())
    });
    let span = tracing::info_span!(
        "request",
        request_id = &*context.id,
        trace_id = hex::encode(context.trace.trace),
        span_id = hex::encode(context.trace.span)
    );
    let (header_id, header_trace) = (context.id.parse(), context.trace.header().parse());
    let mut response = CURRENT.scope(context.clone(), next.run(request)).instrument(span.clone()).await;
    for (name, value) in [(REQUEST_ID, header_id), (TRACE_RESPONSE, header_trace)] {
        if let Ok::<HeaderValue, _>(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    let status = response.status();
    if let Some(exported) = &mut exported {
        let model = response.extensions().get::<ModelLabel>().map(|label| &*label.0);
        exported.end(&method, &path, route.as_deref(), status, model, &context.id);
    }
    let seconds = started.elapsed().as_secs_f64();
    // "Not ready" is the right answer to a probe while a model is loading.
    let is_probe = ["/ready", "/live", "/startup", "/ping"].iter().any(|end| path.ends_with(end));
    span.in_scope(|| {
        if status.is_server_error() && !is_probe {
            tracing::warn!(%method, path, status = status.as_u16(), seconds, "request");
        } else {
            tracing::debug!(%method, path, status = status.as_u16(), seconds, "request");
        }
    });
    response
}

/// The caller's id, if it is one that can be logged and sent back, or a new one.
fn id(headers: &HeaderMap) -> Arc<str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(plain) => id.into(),
        _ => Uuid::now_v7().to_string().into(),
    }
}
