//! `POST /v1/models/{name}:predict`: raw text, one or many.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use refit_predictor::{Answer as Said, Entity};
use serde_json::{Map, Value, json};

use super::asked::{Asked, Texts};
use crate::{
    answer::{Question, answer, room},
    api_error::{ApiError, Code},
    app::App,
    body,
    job::Answer,
    layers::ModelLabel,
    routing::Model,
};

/// The header whose value makes the same version answer again while a canary is tried.
pub(crate) const KEY_HEADER: &str = "x-refit-key";

const ACTION: &str = ":predict";

pub(crate) async fn predict(
    State(app): State<Arc<App>>,
    Path(call): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let accepted = Instant::now();
    let Some(name) = call.strip_suffix(ACTION) else {
        let message = format!("POST to /v1/models/{call}{ACTION}");
        return ApiError::new(Code::MethodNotAllowed, message).into_response();
    };
    let Some(model) = app.models.get(name) else {
        return ApiError::unknown_model(name).into_response();
    };
    let result = predict_with(&app, &model, &headers, body, accepted).await;
    let mut response = result.map(Json).into_response();
    response.extensions_mut().insert(ModelLabel(Arc::clone(&model.name)));
    response
}

async fn predict_with(
    app: &App,
    model: &Model,
    headers: &HeaderMap,
    body: Body,
    accepted: Instant,
) -> Result<Value, ApiError> {
    room(app, model)?;
    let body = body::read(app, headers, body).await?;
    let asked = Texts::try_from(body::json::<Asked>(headers, &body)?)?;
    answer_texts(app, model, key(headers)?, asked, accepted).await
}

/// The answer to one text, or to a list of them.
pub(crate) async fn answer_texts(
    app: &App,
    model: &Model,
    key: Option<&str>,
    asked: Texts,
    accepted: Instant,
) -> Result<Value, ApiError> {
    let Texts { texts, many } = asked;
    let answers = answer(app, Question { model, version: None, key, texts, accepted }).await?;
    let mut predictions = answers.iter().map(|answer| describe(model, answer));
    Ok(match predictions.next() {
        Some(first) if !many => first,
        first => {
            json!({ "model": &*model.name, "predictions": first.into_iter().chain(predictions).collect::<Vec<_>>() })
        }
    })
}

/// The sticky key of a request.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let read = |value: &'_ axum::http::HeaderValue| value.to_str().is_ok();
    match headers.get(KEY_HEADER) {
        None => Ok(None),
        Some(value) if read(value) => Ok(value.to_str().ok()),
        Some(_) => {
            Err(ApiError::new(Code::Malformed, format!("the header {KEY_HEADER} must be plain ASCII")))
        }
    }
}

fn describe(model: &Model, answer: &Answer) -> Value {
    let mut described = of_answer(&answer.prediction.answer, &answer.labels);
    described["prediction_id"] = json!(answer.id.to_string());
    described["truncated"] = json!(answer.prediction.truncated);
    described["model"] = json!(&*model.name);
    described["version"] = json!(&*answer.version);
    described
}

/// What depends on the task.
fn of_answer(answer: &Said, labels: &[Arc<str>]) -> Value {
    let by_label = |probabilities: &[f32]| -> Map<String, Value> {
        labels.iter().zip(probabilities).map(|(label, p)| (label.to_string(), json!(p))).collect()
    };
    match answer {
        Said::Class { label, probabilities, .. } => {
            json!({ "label": &**label, "probabilities": by_label(probabilities) })
        }
        Said::Labels { labels, probabilities } => {
            let given: Vec<&str> = labels.iter().map(|label| &**label).collect();
            json!({ "labels": given, "probabilities": by_label(probabilities) })
        }
        Said::Number(number) => json!({ "value": number }),
        Said::Entities { entities, .. } => json!({ "entities": describe_entities(entities) }),
        Said::Span(Some(span)) => json!({
            "answer": span.text, "start": span.start, "end": span.end, "probability": span.probability,
        }),
        Said::Span(None) => json!({ "answer": null }),
        Said::Vector(values) => json!({ "embedding": values }),
    }
}

/// Entities with their places in characters.
pub(crate) fn describe_entities(entities: &[Entity]) -> Value {
    let one = |entity: &Entity| {
        json!({
            "type": entity.kind, "text": entity.text, "start": entity.start, "end": entity.end,
            "probability": entity.probability,
        })
    };
    entities.iter().map(one).collect()
}
