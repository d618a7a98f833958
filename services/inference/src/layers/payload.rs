//! Logs what was asked and answered. Only in the stack where `serve.log_payloads` says so: texts may be anybody's.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{app::App, body};

/// The most of a body that is logged.
const MOST_LOGGED: usize = 4096;
/// The most of an answer that is read for it; an answer that is larger, or a stream, is not logged.
const MOST_ANSWER: u64 = 1 << 20;

pub(crate) async fn log(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // A stream of messages has no end to wait for.
    let kind = request.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return next.run(request).await;
    }
    let (head, asked) = request.into_parts();
    let path = head.uri.path().to_owned();
    let asked = match body::collect(asked, app.max_body_bytes, app.deadline).await {
        Ok(asked) => asked,
        Err(error) => return error.into_response(),
    };
    tracing::info!(path, payload = %shown(&asked), "asked");
    let response = next.run(Request::from_parts(head, Body::from(asked))).await;
    let (head, answer) = response.into_parts();
    let size = axum::body::HttpBody::size_hint(&answer).exact();
    if size.is_none_or(|size| size > MOST_ANSWER) {
        return Response::from_parts(head, answer);
    }
    match axum::body::to_bytes(answer, MOST_ANSWER as usize).await {
        Ok(answer) => {
            tracing::info!(path, status = head.status.as_u16(), payload = %shown(&answer), "answered");
            Response::from_parts(head, Body::from(answer))
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be read");
            Response::from_parts(head, Body::empty())
        }
    }
}

fn shown(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_LOGGED)])
}
