//! Whether the process lives, whether it has begun, and whether requests should be sent to it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use crate::{
    api_error::{ApiError, Code},
    app::App,
    oip,
};

pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// Over once all that is deployed was loaded or could not be: from then on a probe of readiness says more.
pub(crate) async fn startup(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.models.is_started() {
        return Ok(Json(json!({ "started": true })));
    }
    Err(ApiError::new(Code::Unavailable, "the deployed models are still being loaded"))
}

pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    if app.is_ready() {
        return Ok(Json(json!({ "ready": true })));
    }
    Err(ApiError::new(Code::Unavailable, why_not(&app)))
}

fn why_not(app: &App) -> String {
    if app.is_draining() {
        return "the service is stopping".to_owned();
    }
    let models = app.models.all();
    let waiting: Vec<&str> =
        models.iter().filter(|model| model.routing().champion.is_none()).map(|model| &*model.name).collect();
    if waiting.is_empty() {
        "no model is ready yet".to_owned()
    } else {
        format!("not ready yet: {}", waiting.join(", "))
    }
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
    if oip::is_model_ready(app, name, version)? {
        return Ok(Json(json!({ "name": name, "ready": true })));
    }
    let what = version.map_or_else(String::new, |version| format!("version {version:?} of "));
    Err(ApiError::new(Code::Unavailable, format!("{what}model {name:?} is not ready")))
}
