//! Whether the process lives, and whether requests should be sent to it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use crate::{
    api_error::{ApiError, Code},
    app::App,
};

pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.is_ready() {
        return Ok(Json(json!({ "ready": true })));
    }
    let why = if app.is_draining() { "the service is stopping" } else { "no model is ready yet" };
    Err(ApiError::new(Code::Unavailable, why))
}

pub(crate) async fn model_ready(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    ready_as(&app, &name, None)
}

pub(crate) async fn version_ready(
    State(app): State<Arc<App>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    ready_as(&app, &name, Some(&version))
}

fn ready_as(app: &App, name: &str, version: Option<&str>) -> Result<Json<Value>, ApiError> {
    let routing = app.models.get(name).ok_or_else(|| ApiError::unknown_model(name))?.routing();
    let ready = match version {
        Some(version) => routing.version(version).is_some(),
        None => routing.champion.is_some(),
    };
    if ready && !app.is_draining() {
        return Ok(Json(json!({ "name": name, "ready": true })));
    }
    let what = version.map_or_else(String::new, |version| format!("version {version:?} of "));
    Err(ApiError::new(Code::Unavailable, format!("{what}model {name:?} is not ready")))
}
