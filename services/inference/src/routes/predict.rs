//! `POST /v1/models/{name}:predict`: raw text, one or many.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Question, answer},
    api_error::{ApiError, Code},
    app::App,
    body,
    layers::ModelLabel,
    routing::Model,
    workers::Answer,
};

/// The header whose value makes the same version answer again while a canary is tried.
pub(crate) const KEY_HEADER: &str = "x-refit-key";

const ACTION: &str = ":predict";

/// One of the three must be there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    text: Option<String>,
    texts: Option<Vec<String>>,
    /// What other servers call it: one text or a list.
    inputs: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Texts, and whether the answer is a list.
struct Texts {
    texts: Vec<String>,
    many: bool,
}

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
    let body = body::read(body, app.max_body_bytes, app.deadline).await?;
    let Texts { texts, many } = Texts::try_from(body::json::<Asked>(headers, &body)?)?;
    let key = key(headers)?;
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

impl TryFrom<Asked> for Texts {
    type Error = ApiError;

    fn try_from(asked: Asked) -> Result<Self, ApiError> {
        let texts = match (asked.text, asked.texts, asked.inputs) {
            (Some(text), None, None) | (None, None, Some(OneOrMany::One(text))) => {
                return Ok(Self { texts: vec![text], many: false });
            }
            (None, Some(texts), None) | (None, None, Some(OneOrMany::Many(texts))) => texts,
            _ => {
                let message = r#"send {"text": "..."} or {"texts": ["...", "..."]}"#;
                return Err(ApiError::new(Code::Invalid, message));
            }
        };
        if texts.is_empty() {
            return Err(ApiError::new(Code::Invalid, "the list of texts is empty"));
        }
        Ok(Self { texts, many: true })
    }
}

fn describe(model: &Model, answer: &Answer) -> Value {
    let prediction = &answer.prediction;
    let labels = answer.labels.iter().map(|label| label.to_string());
    let probabilities: Map<String, Value> =
        labels.zip(prediction.probabilities.iter().map(|&probability| json!(probability))).collect();
    json!({
        "prediction_id": answer.id.to_string(),
        "label": &*prediction.label,
        "probabilities": probabilities,
        "truncated": prediction.truncated,
        "model": &*model.name,
        "version": &*answer.version,
    })
}
