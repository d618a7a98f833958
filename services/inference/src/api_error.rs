use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use refit_store::StoreError;
use serde_json::json;

use crate::{
    error::{LoadError, chain},
    queue::Refused,
};

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
    /// No token was shown, or none that is known.
    Unauthenticated,
    /// The token is not for this.
    Forbidden,
    /// This caller asks too often.
    RateLimited,
    Internal,
    /// The protocol has it, this server does not.
    Unsupported,
    /// Not now: no model yet, or draining.
    Unavailable,
    /// The deadline has passed.
    Late,
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
            Self::Overloaded | Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable | Self::Late => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The status of the same refusal in gRPC.
    pub fn grpc_code(self) -> tonic::Code {
        match self {
            Self::Malformed | Self::UnsupportedMediaType | Self::Invalid => tonic::Code::InvalidArgument,
            Self::NotFound => tonic::Code::NotFound,
            Self::MethodNotAllowed | Self::Unsupported => tonic::Code::Unimplemented,
            Self::SlowClient | Self::Late => tonic::Code::DeadlineExceeded,
            Self::Conflict => tonic::Code::FailedPrecondition,
            Self::TooLarge | Self::Overloaded | Self::RateLimited => tonic::Code::ResourceExhausted,
            Self::Unauthenticated => tonic::Code::Unauthenticated,
            Self::Forbidden => tonic::Code::PermissionDenied,
            Self::Internal => tonic::Code::Internal,
            Self::Unavailable => tonic::Code::Unavailable,
        }
    }

    /// As the label of a metric.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::SlowClient => "slow_client",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Invalid => "invalid",
            Self::Overloaded => "overloaded",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::Internal => "internal",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Late => "late",
        }
    }

    /// Whether the same request may succeed a second later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Overloaded | Self::Unavailable | Self::Late)
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

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::new(Code::Overloaded, "too many texts are waiting: try again in a second"),
            Refused::Closed => Self::new(Code::Unavailable, "the service is stopping"),
        }
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

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        let code = match &error {
            LoadError::NotDeployed { .. } => Code::NotFound,
            LoadError::Store(error) if !error.is_transient() => Code::Internal,
            _ => Code::Unavailable,
        };
        Self::new(code, format!("the model cannot be loaded: {}", chain(&error)))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(json!({ "error": &self.message }))).into_response();
        if self.code.is_transient() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // A layer around this may have to say the same in another protocol.
        response.extensions_mut().insert(self);
        response
    }
}
