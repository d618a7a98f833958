//! The routes, by what they are for.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    routing::{get, post},
};

use crate::{
    api_error::{ApiError, Code},
    app::App,
    layers,
};

mod feedback;
mod health;
mod metrics;
mod models;
mod oip;
mod openapi;
mod predict;

/// Everything that the service answers.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let router = Router::new()
        // For people: raw text in, answers out.
        .route("/v1/models", get(models::list))
        .route("/v1/models/{name}", get(models::one).post(predict::predict))
        .route("/v1/feedback", post(feedback::give))
        // The Open Inference Protocol, version 2.
        .route("/v2", get(oip::metadata::server))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/v2/models/{name}", get(oip::metadata::model))
        .route("/v2/models/{name}/ready", get(health::model_ready))
        .route("/v2/models/{name}/infer", post(oip::infer::infer))
        .route("/v2/models/{name}/versions/{version}", get(oip::metadata::version))
        .route("/v2/models/{name}/versions/{version}/ready", get(health::version_ready))
        .route("/v2/models/{name}/versions/{version}/infer", post(oip::infer::infer_version))
        // For machines that watch.
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(app));
    layers::stack(router, app)
}

async fn unknown(request: Request) -> ApiError {
    let path = request.uri().path();
    ApiError::new(Code::NotFound, format!("there is nothing at {path}: /openapi.json lists what there is"))
}

async fn wrong_method(request: Request) -> ApiError {
    let (method, path) = (request.method(), request.uri().path());
    ApiError::new(
        Code::MethodNotAllowed,
        format!("{path} does not take {method}: /openapi.json lists what it takes"),
    )
}
