//! What a person decides: promote, canary, shadow, roll back, refit. Forms of the console page and JSON of scripts.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{ApiError, Context};
use crate::operate::{self, Order};

/// The body of an order; all of it may be left out where no version is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    version: Option<String>,
    percent: Option<f64>,
    reason: Option<String>,
    by: Option<String>,
}

pub(super) async fn promote(
    Shared(context): Shared<Context>,
    Path(model): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let body = read(&context, &model, &headers, &bytes)?;
    let deployment = operate::promote(&context.store, order(&model, &body), version(&body)?).await?;
    Ok(done(&context, &headers, json!({ "deployment": deployment })))
}

pub(super) async fn canary(
    Shared(context): Shared<Context>,
    Path(model): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let body = read(&context, &model, &headers, &bytes)?;
    let percent = body.percent.ok_or_else(|| {
        ApiError::new(StatusCode::BAD_REQUEST, "say which share: {\"version\": \"2\", \"percent\": 5}")
    })?;
    let order = order(&model, &body);
    let deployment = operate::canary(&context.store, order, version(&body)?, percent).await?;
    Ok(done(&context, &headers, json!({ "deployment": deployment })))
}

/// With a version it begins, without one it ends.
pub(super) async fn shadow(
    Shared(context): Shared<Context>,
    Path(model): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let body = read(&context, &model, &headers, &bytes)?;
    let (store, order) = (&context.store, order(&model, &body));
    let deployment = match &body.version {
        Some(version) => operate::shadow(store, order, version, body.percent.unwrap_or(100.0)).await?,
        None => operate::end_shadow(store, order).await?,
    };
    Ok(done(&context, &headers, json!({ "deployment": deployment })))
}

pub(super) async fn rollback(
    Shared(context): Shared<Context>,
    Path(model): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let body = read(&context, &model, &headers, &bytes)?;
    let deployment = operate::rollback(&context.store, order(&model, &body)).await?;
    Ok(done(&context, &headers, json!({ "deployment": deployment })))
}

pub(super) async fn refit(
    Shared(context): Shared<Context>,
    Path(model): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let body = read(&context, &model, &headers, &bytes)?;
    operate::request_refit(&context.store, order(&model, &body)).await?;
    Ok(done(&context, &headers, json!({ "requested": true })))
}

fn version(body: &Body) -> Result<&str, ApiError> {
    body.version.as_deref().ok_or_else(|| {
        ApiError::new(StatusCode::BAD_REQUEST, "name the version: {\"version\": \"2\", \"reason\": \"…\"}")
    })
}

fn order<'a>(model: &'a str, body: &'a Body) -> Order<'a> {
    Order {
        model,
        reason: body.reason.as_deref().unwrap_or("no reason given"),
        by: body.by.as_deref().unwrap_or("the control API"),
    }
}

fn read(context: &Context, model: &str, headers: &HeaderMap, bytes: &Bytes) -> Result<Body, ApiError> {
    // A page of another site may send a form here from an operator's browser; browsers say so.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok()).unwrap_or("none");
    if !matches!(site, "same-origin" | "none") {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "orders are taken from this site's own pages only"));
    }
    if model != context.config.model() {
        let message = format!("this scheduler runs the model {:?}, not {model:?}", context.config.model());
        return Err(ApiError::new(StatusCode::NOT_FOUND, message));
    }
    if bytes.is_empty() {
        return Ok(Body::default());
    }
    let content = headers.get(header::CONTENT_TYPE).and_then(|content| content.to_str().ok()).unwrap_or("");
    if content.starts_with("application/x-www-form-urlencoded") {
        // The console's forms carry everything in their address and need no body.
        return Ok(Body { by: Some("the console".to_owned()), ..form(bytes) });
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!(
            "the body is not an order: {error}; send {{\"version\", \"percent\", \"reason\", \"by\"}} as JSON"
        );
        ApiError::new(StatusCode::BAD_REQUEST, message)
    })
}

/// The fields of a console form.
fn form(bytes: &[u8]) -> Body {
    let mut body = Body::default();
    for (name, value) in url_pairs(bytes) {
        match name.as_str() {
            "version" => body.version = Some(value),
            "reason" if !value.trim().is_empty() => body.reason = Some(value),
            _ => {}
        }
    }
    body
}

fn url_pairs(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let address = reqwest::Url::parse(&format!("http://form/?{text}"));
    address.map(|address| address.query_pairs().into_owned().collect()).unwrap_or_default()
}

/// Back to the page for a browser, JSON for everybody else; the loop looks at once.
fn done(context: &Context, headers: &HeaderMap, answer: serde_json::Value) -> Response {
    context.wake.notify_one();
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    if accept.contains("text/html") {
        Redirect::to("/").into_response()
    } else {
        Json(answer).into_response()
    }
}
