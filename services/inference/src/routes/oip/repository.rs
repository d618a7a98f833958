//! `POST /v2/repository/index` and `POST /v2/repository/models/{name}/load` and `/unload`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{api_error::ApiError, app::App, body, oip::unsupported, repository};

#[derive(Default, Deserialize)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

#[derive(Default, Deserialize)]
struct LoadRequest {
    #[serde(default)]
    parameters: Map<String, Value>,
}

pub(crate) async fn index(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let IndexRequest { ready } = optional(&app, &headers, body).await?;
    let entries = repository::index(&app, ready).await?;
    let entry = |entry: &repository::IndexEntry| {
        json!({
            "name": entry.model, "version": entry.version, "state": entry.state(), "reason": entry.reason,
        })
    };
    Ok(Json(entries.iter().map(entry).collect()))
}

pub(crate) async fn load(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let LoadRequest { parameters } = optional(&app, &headers, body).await?;
    if !parameters.is_empty() {
        return Err(unsupported("loading a model with a configuration or files of the request"));
    }
    repository::load(&app, &name).await?;
    Ok(Json(json!({})))
}

/// Its parameters ask to unload dependents, of which there are none.
pub(crate) async fn unload(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let LoadRequest { parameters: _ } = optional(&app, &headers, body).await?;
    repository::unload(&app, &name).await?;
    Ok(Json(json!({})))
}

/// A JSON body, which may be left out.
async fn optional<T: serde::de::DeserializeOwned + Default>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    let body = body::read(app, headers, body).await?;
    if body.is_empty() { Ok(T::default()) } else { body::json(headers, &body) }
}
