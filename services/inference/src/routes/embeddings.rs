//! `POST /v1/embeddings`, as OpenAI has it, for models that embed.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use refit_predictor::Answer as Said;
use refit_spec::Task;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::predict::key;
use crate::{
    answer::{Question, answer},
    api_error::{ApiError, Code},
    app::App,
    body,
    job::{Answer, Text},
    layers::ModelLabel,
    routing::Model,
};

/// Clients send more than this, such as `user`, which changes nothing here.
#[derive(Deserialize)]
struct EmbeddingRequest {
    model: String,
    /// A string or a list of them. Clients may also send token ids, which mean nothing without their vocabulary.
    input: Value,
    encoding_format: Option<EncodingFormat>,
    dimensions: Option<usize>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    #[default]
    Float,
    Base64,
}

#[derive(Serialize)]
struct EmbeddingList {
    object: &'static str,
    model: String,
    data: Vec<EmbeddingItem>,
    usage: Usage,
}

#[derive(Serialize)]
struct EmbeddingItem {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// A refusal in the form that OpenAI's clients read.
struct Refusal(ApiError);

pub(crate) async fn embed(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let mut model = None;
    let result = embed_with(&app, &headers, body, &mut model).await;
    let mut response = result.map(Json).map_err(Refusal).into_response();
    if let Some(model) = model {
        response.extensions_mut().insert(ModelLabel(Arc::clone(&model.name)));
    }
    response
}

/// Puts the model into `found` as soon as it is known, so that refusals are counted as its.
async fn embed_with(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    found: &mut Option<Arc<Model>>,
) -> Result<EmbeddingList, ApiError> {
    let accepted = Instant::now();
    let body = body::read(app, headers, body).await?;
    let request: EmbeddingRequest = body::json(headers, &body)?;
    let model = app.models.get(&request.model).ok_or_else(|| ApiError::unknown_model(&request.model))?;
    let model = found.insert(model);
    let texts = texts(request.input)?;
    app.awake(model).await?;
    require_embedding(model)?;
    let key = key(headers)?;
    let answers = answer(app, Question { model, version: None, key, texts, accepted }).await?;
    let width = answers.first().map_or(0, |answer| vector(answer).len());
    if let Some(dimensions) = request.dimensions
        && dimensions != width
    {
        let message = format!("the model gives vectors of {width} dimensions, and no shorter ones");
        return Err(ApiError::new(Code::Invalid, message));
    }
    let tokens = answers.iter().map(|answer| answer.prediction.observation.token_count).sum();
    Ok(EmbeddingList {
        object: "list",
        model: request.model,
        data: items(&answers, request.encoding_format.unwrap_or_default()),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    })
}

fn texts(input: Value) -> Result<Vec<Text>, ApiError> {
    let invalid = |message: &str| ApiError::new(Code::Invalid, message);
    let not_text = || {
        invalid(
            "input must be a string or a list of strings: token ids of another tokenizer would be misread",
        )
    };
    let texts: Vec<String> = match input {
        Value::String(text) => vec![text],
        Value::Array(texts) => {
            let text = |value| match value {
                Value::String(text) => Ok(text),
                _ => Err(not_text()),
            };
            texts.into_iter().map(text).collect::<Result<_, _>>()?
        }
        _ => return Err(not_text()),
    };
    if texts.is_empty() {
        return Err(invalid("input is empty"));
    }
    Ok(texts.into_iter().map(|text| Text::new(text, None)).collect())
}

fn require_embedding(model: &Model) -> Result<(), ApiError> {
    let routing = model.routing();
    let Some((serving, _)) = routing.serving().next() else { return Ok(()) };
    match serving.model.predictor.task() {
        Task::Embedding => Ok(()),
        task => {
            let message = format!("model {:?} is for {task} and gives no embeddings", &*model.name);
            Err(ApiError::new(Code::Invalid, message))
        }
    }
}

fn items(answers: &[Answer], format: EncodingFormat) -> Vec<EmbeddingItem> {
    let item = |(index, answer)| {
        let values = vector(answer);
        let embedding = match format {
            EncodingFormat::Float => Vector::Float(values.to_vec()),
            EncodingFormat::Base64 => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                Vector::Base64(STANDARD.encode(bytes))
            }
        };
        EmbeddingItem { object: "embedding", index, embedding }
    };
    answers.iter().enumerate().map(item).collect()
}

fn vector(answer: &Answer) -> &[f32] {
    match &answer.prediction.answer {
        Said::Vector(values) => values,
        _ => &[],
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let status = error.code.status();
        let kind = match error.code {
            Code::Overloaded => "rate_limit_error",
            _ if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let body =
            json!({ "error": { "message": &error.message, "type": kind, "param": null, "code": null } });
        let mut response = error.into_response();
        // The status and its headers stay; only the body says it in other words.
        *response.body_mut() = Body::from(body.to_string());
        response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
        response
    }
}
