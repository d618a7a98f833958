//! Trace settings, log settings and shared memory: what there is of them is told, and nothing can be changed.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Map, Value, json};

use crate::{
    api_error::{ApiError, Code},
    app::App,
    oip::{self, SHARED_MEMORY, unsupported},
};

pub(crate) async fn trace() -> Json<Value> {
    let value = |name: &str, value: &str| match name {
        "trace_level" => json!([value]),
        _ => json!(value),
    };
    let settings: Map<String, Value> = oip::trace_settings()
        .into_iter()
        .map(|(name, setting)| (name.to_owned(), value(name, setting)))
        .collect();
    Json(Value::Object(settings))
}

pub(crate) async fn model_trace(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match app.models.get(&name) {
        Some(_) => Ok(trace().await),
        None => Err(ApiError::unknown_model(&name)),
    }
}

pub(crate) async fn set_trace() -> ApiError {
    unsupported("changing trace settings")
}

pub(crate) async fn log() -> Json<Value> {
    let settings: Map<String, Value> =
        oip::log_settings().into_iter().map(|(name, logs)| (name.to_owned(), json!(logs))).collect();
    Json(Value::Object(settings))
}

pub(crate) async fn set_log() -> ApiError {
    unsupported("changing log settings")
}

pub(crate) async fn no_shared_memory(Path(memory): Path<String>) -> ApiError {
    refuse(&memory)
}

pub(crate) async fn no_shared_memory_region(Path((memory, _)): Path<(String, String)>) -> ApiError {
    refuse(&memory)
}

fn refuse(memory: &str) -> ApiError {
    match memory {
        "systemsharedmemory" | "cudasharedmemory" => unsupported(SHARED_MEMORY),
        _ => ApiError::new(Code::NotFound, format!("there is nothing at /v2/{memory}")),
    }
}
