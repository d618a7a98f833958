//! Refuses a request whose declared length is over the limit, before a byte of its body is read.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    api_error::{ApiError, Code},
    app::App,
};

pub(crate) async fn refuse_declared(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|bytes: u64| bytes > app.max_body_bytes as u64) {
        let message = format!("the request body is larger than {} bytes", app.max_body_bytes);
        return ApiError::new(Code::TooLarge, message).into_response();
    }
    next.run(request).await
}
