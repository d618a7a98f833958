//! `POST /v2/models/{name}[/versions/{version}]/infer`.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};

use super::{request, response};
use crate::{
    answer::room,
    api_error::ApiError,
    app::App,
    body,
    layers::ModelLabel,
    oip::{self, InferCall},
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
    room(app, model)?;
    let body = body::read(app, headers, body).await?;
    let (request, form) = request::decode(headers, &body)?;
    let key = key(headers)?;
    let answer = oip::infer(app, InferCall { model, version, key, request, accepted }).await?;
    response::encode(&model.name, &form, answer)
}
