//! `POST /v2/models/{name}[/versions/{version}]/infer`.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};

use refit_spec::Task;

use super::{request, response};
use crate::{
    answer::{Question, answer},
    api_error::{ApiError, Code},
    app::App,
    body,
    layers::ModelLabel,
    routes::predict::key,
    routing::Model,
};

pub(crate) async fn infer(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    infer_as(&app, &name, None, &headers, body).await
}

pub(crate) async fn infer_version(
    State(app): State<Arc<App>>,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    infer_as(&app, &name, Some(&version), &headers, body).await
}

async fn infer_as(app: &App, name: &str, version: Option<&str>, headers: &HeaderMap, body: Body) -> Response {
    let Some(model) = app.models.get(name) else {
        return ApiError::unknown_model(name).into_response();
    };
    let mut response = infer_with(app, &model, version, headers, body).await.into_response();
    response.extensions_mut().insert(ModelLabel(Arc::clone(&model.name)));
    response
}

async fn infer_with(
    app: &App,
    model: &Model,
    version: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let accepted = Instant::now();
    let body = body::read(body, app.max_body_bytes, app.deadline).await?;
    let request = request::decode(headers, &body)?;
    let key = key(headers)?;
    let task = task_of(model, version)?;
    let outputs = response::choose(task, request.outputs, request.all_binary)?;
    let answers = answer(app, Question { model, version, key, texts: request.texts, accepted }).await?;
    response::encode(&model.name, request.id.as_deref(), task, &outputs, &answers)
}

/// What the version that is asked does; all versions of a model do the same.
fn task_of(model: &Model, version: Option<&str>) -> Result<Task, ApiError> {
    let (routing, name) = (model.routing(), &model.name);
    let serving = match version {
        Some(version) => routing.version(version).map(|(serving, _)| serving).ok_or_else(|| {
            ApiError::new(Code::NotFound, format!("version {version:?} of model {name:?} is not served"))
        })?,
        None => routing.champion.as_ref().or(routing.canary.as_ref().map(|(canary, _)| canary)).ok_or_else(
            || ApiError::new(Code::Unavailable, format!("no version of model {name:?} is ready yet")),
        )?,
    };
    Ok(serving.model.predictor.task())
}
