//! The routes, by what they are for.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware,
    routing::{get, post},
};

use crate::{
    api_error::{ApiError, Code},
    app::App,
    grpc, layers,
};

mod asked;
mod docs;
mod embeddings;
mod feedback;
mod health;
mod metrics;
mod models;
mod oip;
mod openapi;
mod path;
pub(crate) mod predict;
mod sagemaker;

/// Everything that the service answers.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let router = Router::new()
        // For people: raw text in, answers out.
        .route("/v1/models", get(models::list))
        .route("/v1/models/{name}", get(models::one).post(predict::predict))
        .route("/v1/feedback", post(feedback::give))
        // As other servers' clients ask.
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/invocations", post(sagemaker::invoke))
        .route("/ping", get(health::ready))
        .merge(oip::router())
        // For machines that watch.
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .route("/docs", get(docs::page))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(path::readable))
        .layer(middleware::from_fn(path::allowed))
        .with_state(Arc::clone(app))
        .merge(grpc::router(app));
    grpc::edge(layers::stack(router, app), app)
}

/// What is answered at the monitoring address: nothing about texts.
pub(crate) fn monitoring(app: &Arc<App>) -> Router {
    let router = Router::new()
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/v2/health/startup", get(health::startup))
        .route("/metrics", get(metrics::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(app));
    layers::open(router, app)
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
