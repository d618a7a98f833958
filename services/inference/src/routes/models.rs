//! `GET /v1/models`: which versions answer, since when and why.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use crate::{
    api_error::{ApiError, Code},
    app::App,
    routing::{Model, Serving},
};

pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let models: Vec<Value> = app.models.all().iter().map(|model| describe(model)).collect();
    Json(json!({ "models": models }))
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if name.ends_with(":predict") {
        return Err(ApiError::new(Code::MethodNotAllowed, format!("POST to /v1/models/{name}")));
    }
    let model = app.models.get(&name).ok_or_else(|| ApiError::unknown_model(&name))?;
    Ok(Json(describe(&model)))
}

fn describe(model: &Model) -> Value {
    let routing = model.routing();
    let canary = routing.canary.as_ref().map(|(canary, percent)| {
        let mut entry = serving(canary);
        entry["percent"] = json!(percent);
        entry
    });
    json!({
        "name": &*model.name,
        "generation": routing.generation,
        "ready": routing.champion.is_some(),
        "champion": routing.champion.as_ref().map(serving),
        "canary": canary,
    })
}

fn serving(serving: &Serving) -> Value {
    let predictor = &serving.model.predictor;
    let choice = predictor.choice();
    json!({
        "version": &*serving.model.version,
        "since": serving.since.to_string(),
        "reason": serving.reason,
        "labels": predictor.labels().iter().map(|label| &**label).collect::<Vec<_>>(),
        "engine": choice.engine,
        "engine_version": predictor.engine_version(),
        "precision": choice.precision.name(),
        "engine_reason": choice.reason,
    })
}
