//! A refusal in gRPC's terms.

use axum::http::StatusCode;
use tonic::{Code, Status};

use crate::api_error::ApiError;

/// Tells clients that retry how many milliseconds to wait before they do.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut status = Self::new(error.code.grpc_code(), error.message);
        if error.code.is_transient() {
            status.metadata_mut().insert(PUSHBACK, tonic::metadata::MetadataValue::from_static("1000"));
        }
        status
    }
}

/// What an HTTP status without a message means to a client that expected gRPC, as the gRPC specification has it.
pub(super) fn of_http(status: StatusCode) -> Status {
    let code = match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            Code::ResourceExhausted
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    };
    Status::new(code, format!("the request was refused with HTTP status {status}"))
}
