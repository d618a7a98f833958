//! `GET /metrics`: everything that is watched, in Prometheus' text format.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use crate::{
    api_error::{ApiError, Code},
    app::App,
};

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    match app.render_metrics().await {
        Ok(text) => Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response()),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            Err(ApiError::new(Code::Internal, "the metrics cannot be written: the service's log says why"))
        }
    }
}
