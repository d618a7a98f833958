//! Control API, metrics and the console page.
//!
//! | route | what |
//! |---|---|
//! | `GET /` | the console page |
//! | `GET /v1/state` | what was observed last, and what is planned |
//! | `GET /v1/decisions?limit=` | what was decided, newest last, with the evidence |
//! | `POST /v1/models/{model}/promote`, `/canary`, `/shadow`, `/rollback`, `/refit` | what a person decides |
//! | `GET /metrics`, `GET /healthz` | for Prometheus and for whoever restarts dead processes |

mod act;
mod answers;
mod page;
mod plot;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State as Shared,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus::TextEncoder;
use refit_metrics::Registry;
use refit_store::{Store, StoreError};
use serde_json::json;
use tokio::sync::Notify;

use crate::{SchedulerConfig, view::Board};

/// What the routes need.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: SchedulerConfig,
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) board: Board,
    /// Wakes the loop, so that a person's decision is acted on at once.
    pub(crate) wake: Arc<Notify>,
}

pub(crate) fn router(context: Context) -> Router {
    Router::new()
        .route("/", get(page::console))
        .route("/v1/state", get(answers::state))
        .route("/v1/decisions", get(answers::decisions))
        .route("/v1/models/{model}/promote", post(act::promote))
        .route("/v1/models/{model}/canary", post(act::canary))
        .route("/v1/models/{model}/shadow", post(act::shadow))
        .route("/v1/models/{model}/rollback", post(act::rollback))
        .route("/v1/models/{model}/refit", post(act::refit))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .with_state(context)
}

/// An answer other than success.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::UnknownVersion { .. } => StatusCode::NOT_FOUND,
            StoreError::CanaryPercent { .. } => StatusCode::BAD_REQUEST,
            StoreError::NoPrevious { .. } | StoreError::StaleDeployment { .. } => StatusCode::CONFLICT,
            StoreError::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}

async fn metrics(Shared(context): Shared<Context>) -> Result<Response, ApiError> {
    let text = TextEncoder::new()
        .encode_to_string(&context.registry.gather())
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Healthy while the loop turns. An error that the loop reports and retries is no reason to restart it.
async fn health(Shared(context): Shared<Context>) -> Response {
    let since = jiff::Timestamp::now().duration_since(context.board.latest().looked_at);
    let allowed = context.config.poll.as_secs().saturating_mul(3).saturating_add(60);
    if since.as_secs() > i64::try_from(allowed).unwrap_or(i64::MAX) {
        let message = format!("the loop has not looked for {} s", since.as_secs());
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    }
    Json(json!({ "status": "ok" })).into_response()
}
