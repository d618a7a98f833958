//! The API.
//!
//! | route | what |
//! |---|---|
//! | `POST /v1/runs` | submits a spec |
//! | `GET /v1/runs`, `GET /v1/runs/{id}` | the runs, or one |
//! | `GET /v1/runs/{id}/events` | what happens, as server-sent events; `Last-Event-ID` goes on from there |
//! | `GET /v1/runs/{id}/log` | what its process says |
//! | `POST /v1/runs/{id}/cancel` | ends it; its state is kept |
//! | `GET /v1/runs/{id}/artifact` | the artifact as a tar file |
//! | `GET /metrics`, `GET /healthz` | for Prometheus and for whoever restarts dead processes |

mod artifact;
mod events;
mod runs;

use crate::queue::Queue;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus::TextEncoder;
use refit_metrics::Registry;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::watch;

/// Most bytes of a submission: the rows that come with it.
const MOST_BYTES: usize = 256 << 20;

/// What the routes need.
#[derive(Clone)]
pub struct Context {
    /// The runs.
    pub queue: Arc<Queue>,
    /// What is told Prometheus.
    pub registry: Registry,
    /// Ends streams of events when the service ends.
    pub stop: watch::Receiver<bool>,
}

/// The whole API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/v1/runs", post(runs::submit).get(runs::list))
        .route("/v1/runs/{id}", get(runs::one))
        .route("/v1/runs/{id}/events", get(events::stream))
        .route("/v1/runs/{id}/log", get(runs::log))
        .route("/v1/runs/{id}/cancel", post(runs::cancel))
        .route("/v1/runs/{id}/artifact", get(artifact::download))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        // Whoever may submit a spec may make this machine read files: everything below /v1 asks for the token.
        .layer(from_fn_with_state(context.clone(), authorize))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .with_state(context)
}

async fn authorize(State(context): State<Context>, request: Request, next: Next) -> Response {
    let Some(token) = &context.queue.config.token else { return next.run(request).await };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if is_same(given.as_bytes(), token.as_bytes()) {
        return next.run(request).await;
    }
    let error =
        ApiError::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong: Authorization: Bearer TOKEN");
    ([(header::WWW_AUTHENTICATE, "Bearer")], error).into_response()
}

/// In the same time wherever they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

async fn metrics(State(context): State<Context>) -> Result<Response, ApiError> {
    let text = TextEncoder::new()
        .encode_to_string(&context.registry.gather())
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// An answer other than success.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn unknown(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no run {id:?}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}
