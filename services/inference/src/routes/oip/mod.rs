//! The Open Inference Protocol over REST, with its binary tensor data extension (the wire format that Triton documents
//! and its clients use by default).

pub(crate) mod infer;
pub(crate) mod metadata;
pub(crate) mod repository;
mod request;
mod response;
pub(crate) mod settings;
pub(crate) mod statistics;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

use super::health;
use crate::app::App;

/// Everything under `/v2`.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v2", get(metadata::server))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/v2/health/startup", get(health::startup))
        .route("/v2/models/stats", get(statistics::all))
        .route("/v2/models/{name}", get(metadata::model))
        .route("/v2/models/{name}/ready", get(health::model_ready))
        .route("/v2/models/{name}/config", get(metadata::config))
        .route("/v2/models/{name}/stats", get(statistics::model))
        .route("/v2/models/{name}/infer", post(infer::infer))
        .route("/v2/models/{name}/versions/{version}", get(metadata::version))
        .route("/v2/models/{name}/versions/{version}/ready", get(health::version_ready))
        .route("/v2/models/{name}/versions/{version}/config", get(metadata::version_config))
        .route("/v2/models/{name}/versions/{version}/stats", get(statistics::version))
        .route("/v2/models/{name}/versions/{version}/infer", post(infer::infer_version))
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{name}/load", post(repository::load))
        .route("/v2/repository/models/{name}/unload", post(repository::unload))
        .route("/v2/trace/setting", get(settings::trace).post(settings::set_trace))
        .route("/v2/models/{name}/trace/setting", get(settings::model_trace).post(settings::set_trace))
        .route("/v2/logging", get(settings::log).post(settings::set_log))
        // Tensors travel in the request only.
        .route("/v2/{memory}/status", get(settings::no_shared_memory))
        .route("/v2/{memory}/unregister", post(settings::no_shared_memory))
        .route("/v2/{memory}/region/{region}/status", get(settings::no_shared_memory_region))
        .route("/v2/{memory}/region/{region}/register", post(settings::no_shared_memory_region))
        .route("/v2/{memory}/region/{region}/unregister", post(settings::no_shared_memory_region))
}
