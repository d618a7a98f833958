//! `GET /v1/models`: which versions answer, since when and why. It is also the list that OpenAI's clients read (`object`,
//! `data`) and, for one model, what KServe's read (`name`, `ready`).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use crate::{
    api_error::{ApiError, Code},
    app::App,
    routing::{Model, Residence, Serving},
    scheduling::Point,
};

pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let models: Vec<Value> = app.models.all().iter().map(|model| describe(model)).collect();
    let data: Vec<Value> = app.models.all().iter().map(|model| entry(model)).collect();
    Json(json!({ "object": "list", "data": data, "models": models }))
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
    let with_share = |(version, percent): &(Serving, f64)| {
        let mut entry = serving(version);
        entry["percent"] = json!(percent);
        entry
    };
    let (canary, shadow) = (routing.canary.as_ref().map(with_share), routing.shadow.as_ref().map(with_share));
    let mut described = entry(model);
    let residence = match model.residence() {
        Residence::Wanted => "wanted",
        Residence::Pinned => "pinned",
        Residence::OnDemand => "on_demand",
        Residence::Unloaded => "unloaded",
    };
    let more = json!({
        "name": &*model.name,
        "residence": residence,
        "memory_bytes": model.memory_bytes(),
        "generation": routing.generation,
        "ready": routing.champion.is_some(),
        "champion": routing.champion.as_ref().map(serving),
        "canary": canary,
        "shadow": shadow,
    });
    if let (Value::Object(described), Value::Object(more)) = (&mut described, more) {
        described.extend(more);
    }
    described
}

/// A model in OpenAI's terms. It was made when its champion took over; 0 while there is none.
fn entry(model: &Model) -> Value {
    let routing = model.routing();
    let created = routing.champion.as_ref().map_or(0, |champion| champion.since.as_second());
    json!({ "id": &*model.name, "object": "model", "created": created, "owned_by": "refit" })
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
        "device": choice.device.name(),
        "engine_reason": choice.reason,
        "memory_bytes": serving.model.memory_bytes,
        "largest_batch": serving.model.pace.largest_batch,
        "lone_threads": serving.model.pace.threads,
        "latency": serving.model.pace.curve.points().iter().map(point).collect::<Vec<_>>(),
    })
}

fn point(point: &Point) -> Value {
    json!({
        "texts": point.texts, "tokens": point.tokens, "threads": point.threads, "seconds": point.seconds,
    })
}
