use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use refit_store::StoreError;
use serde_json::json;

use crate::error::chain;

/// Why a request is not answered, as `{"error": "..."}` with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub code: Code,
    pub message: String,
}

/// The closed list of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Not what the protocol says: not JSON, not UTF-8, a broken header.
    Malformed,
    NotFound,
    MethodNotAllowed,
    /// The client was too slow to send its request.
    SlowClient,
    /// The feedback was given before.
    Conflict,
    TooLarge,
    UnsupportedMediaType,
    /// JSON, but not of the right shape.
    Invalid,
    /// The queue is full.
    Overloaded,
    Internal,
    /// Not now: no model yet, draining, or the deadline has passed.
    Unavailable,
}

impl Code {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowClient => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the same request may succeed a second later.
    fn is_transient(self) -> bool {
        matches!(self, Self::Overloaded | Self::Unavailable)
    }
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn unknown_model(name: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no model {name:?}: GET /v1/models lists those there are"))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::UnknownPrediction { .. } => Code::NotFound,
            StoreError::AlreadyGiven { .. } => Code::Conflict,
            error if error.is_transient() => Code::Unavailable,
            _ => Code::Internal,
        };
        if code == Code::Internal {
            tracing::error!(error = chain(&error), "the store failed");
            return Self::new(code, "the store failed: the service's log says why");
        }
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(json!({ "error": self.message }))).into_response();
        if self.code.is_transient() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
