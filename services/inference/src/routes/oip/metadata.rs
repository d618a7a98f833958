//! `GET /v2` and `GET /v2/models/{name}`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use refit_spec::Task;

use super::tensors::{EMBEDDING, PAIR, PROBABILITIES, TEXT, outputs};
use crate::{
    api_error::{ApiError, Code},
    app::App,
};

pub(crate) async fn server() -> Json<Value> {
    Json(json!({
        "name": "refit",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data"],
    }))
}

pub(crate) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    describe(&app, &name, None).map(Json)
}

pub(crate) async fn version(
    State(app): State<Arc<App>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    describe(&app, &name, Some(&version)).map(Json)
}

fn describe(app: &App, name: &str, version: Option<&str>) -> Result<Value, ApiError> {
    let routing = app.models.get(name).ok_or_else(|| ApiError::unknown_model(name))?.routing();
    let serving = match version {
        Some(version) => routing.version(version).map(|(serving, _)| serving).ok_or_else(|| {
            ApiError::new(Code::NotFound, format!("version {version:?} of model {name:?} is not served"))
        })?,
        None => routing.champion.as_ref().ok_or_else(|| {
            ApiError::new(Code::Unavailable, format!("no version of model {name:?} is ready yet"))
        })?,
    };
    let labels = serving.model.labels.len();
    let versions: Vec<&str> = routing.serving().map(|(serving, _)| &*serving.model.version).collect();
    let task = serving.model.predictor.task();
    let outputs: Vec<Value> = outputs(task)
        .into_iter()
        .map(|(name, datatype)| {
            let shape = match name {
                PROBABILITIES => json!([-1, labels]),
                EMBEDDING => json!([-1, -1]),
                _ => json!([-1]),
            };
            json!({ "name": name, "datatype": datatype, "shape": shape })
        })
        .collect();
    let mut inputs = vec![json!({ "name": TEXT, "datatype": "BYTES", "shape": [-1] })];
    if task == Task::QuestionAnswering {
        inputs.push(json!({ "name": PAIR, "datatype": "BYTES", "shape": [-1] }));
    }
    Ok(json!({
        "name": name,
        "versions": versions,
        "platform": format!("refit_{}", serving.model.predictor.choice().engine),
        "inputs": inputs,
        "outputs": outputs,
    }))
}
