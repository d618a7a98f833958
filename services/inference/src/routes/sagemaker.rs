//! `POST /invocations` and `GET /ping`, as SageMaker calls the container of a model.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{
    asked::{Asked, Texts},
    predict::{answer_texts, key},
};
use crate::{
    answer::room,
    api_error::{ApiError, Code},
    app::App,
    body,
    layers::ModelLabel,
    routing::Model,
};

/// Names the model where there are several.
const TARGET: &str = "x-amzn-sagemaker-target-model";

/// How texts come and answers go.
#[derive(Clone, Copy)]
enum Format {
    /// What the route for people takes.
    Json,
    /// One text or object a line.
    JsonLines,
    /// One text.
    Plain,
}

pub(crate) async fn invoke(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let model = match target(&app, &headers) {
        Ok(model) => model,
        Err(error) => return error.into_response(),
    };
    let mut response = invoke_with(&app, &model, &headers, body).await.into_response();
    response.extensions_mut().insert(ModelLabel(Arc::clone(&model.name)));
    response
}

async fn invoke_with(
    app: &App,
    model: &Model,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let accepted = Instant::now();
    let format = format(headers)?;
    room(app, model)?;
    let body = body::read(app, headers, body).await?;
    let asked = match format {
        Format::Json => Texts::try_from(body::parse::<Asked>(&body)?)?,
        Format::JsonLines => lines(&body)?,
        Format::Plain => Texts::one(text(&body)?.to_owned()),
    };
    let answer = answer_texts(app, model, key(headers)?, asked, accepted).await?;
    Ok(match (format, answer.get("predictions").and_then(Value::as_array)) {
        (Format::JsonLines, Some(predictions)) => {
            let lines: String = predictions.iter().map(|prediction| format!("{prediction}\n")).collect();
            ([(header::CONTENT_TYPE, "application/jsonlines")], lines).into_response()
        }
        _ => axum::Json(answer).into_response(),
    })
}

/// The model of that name, or the only one.
fn target(app: &App, headers: &HeaderMap) -> Result<Arc<Model>, ApiError> {
    if let Some(name) = headers.get(TARGET) {
        let name = String::from_utf8_lossy(name.as_bytes());
        return app.models.get(&name).ok_or_else(|| ApiError::unknown_model(&name));
    }
    let mut models = app.models.all();
    match (models.pop(), models.is_empty()) {
        (Some(model), true) => Ok(model),
        (None, _) => Err(ApiError::new(Code::Unavailable, "there is no model yet")),
        (Some(_), false) => {
            Err(ApiError::new(Code::Invalid, format!("there are several models: name one in {TARGET}")))
        }
    }
}

fn format(headers: &HeaderMap) -> Result<Format, ApiError> {
    let Some(kind) = headers.get(header::CONTENT_TYPE).map(body::media_type) else { return Ok(Format::Json) };
    match kind.as_str() {
        "application/json" => Ok(Format::Json),
        "application/jsonlines" | "application/x-jsonlines" | "application/x-ndjson" => Ok(Format::JsonLines),
        "text/plain" => Ok(Format::Plain),
        _ => {
            let message = "send application/json, application/jsonlines or text/plain";
            Err(ApiError::new(Code::UnsupportedMediaType, message))
        }
    }
}

fn text(body: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|_| ApiError::new(Code::Malformed, "the body is not UTF-8"))
}

/// One text a line, as a string or as an object; empty lines are none.
fn lines(body: &[u8]) -> Result<Texts, ApiError> {
    let mut texts = Vec::new();
    for line in text(body)?.lines().filter(|line| !line.trim().is_empty()) {
        let asked = match line.trim_start().starts_with('"') {
            true => Texts::one(body::parse(line.as_bytes())?),
            false => Texts::try_from(body::parse::<Asked>(line.as_bytes())?)?,
        };
        texts.extend(asked.texts);
    }
    if texts.is_empty() {
        return Err(ApiError::new(Code::Invalid, "there is no text to answer"));
    }
    Ok(Texts { texts, many: true })
}
