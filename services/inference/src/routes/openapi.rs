//! `GET /openapi.json`. Kept by hand: a test compares its paths and answers with the service's.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

const OPENAPI: &str = include_str!("../../openapi.json");

pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
