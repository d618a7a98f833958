//! Reading request bodies: bounded in size and time, and of the right type.

use std::{error::Error, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::api_error::{ApiError, Code};

/// The whole body, if it is not larger than `limit` bytes and arrives within `time`.
pub(crate) async fn read(body: Body, limit: usize, time: Duration) -> Result<Bytes, ApiError> {
    let reading = axum::body::to_bytes(body, limit);
    match tokio::time::timeout(time, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => {
            Err(ApiError::new(Code::TooLarge, format!("the request body is larger than {limit} bytes")))
        }
        Ok(Err(_)) => Err(ApiError::new(Code::Malformed, "the request body ended before it was complete")),
        Err(_) => Err(ApiError::new(Code::SlowClient, "the request body did not arrive in time")),
    }
}

/// A JSON body as a value.
pub(crate) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    require_json(headers)?;
    refuse_encoding(headers)?;
    parse(body)
}

/// JSON bytes as a value: not JSON is malformed, JSON of another shape invalid.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() { Code::Invalid } else { Code::Malformed };
        let what =
            if error.is_data() { "the request is not of the right shape" } else { "the body is not JSON" };
        ApiError::new(code, format!("{what}: {error}"))
    })
}

/// A compressed body would be read as garbage.
pub(crate) fn refuse_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            Err(ApiError::new(Code::UnsupportedMediaType, "send the body without Content-Encoding"))
        }
        _ => Ok(()),
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::new(Code::UnsupportedMediaType, "send JSON with Content-Type: application/json"))
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(error) = source {
        // `http_body_util::LengthLimitError`, which axum does not name; its message is this.
        if error.to_string() == "length limit exceeded" {
            return true;
        }
        source = error.source();
    }
    false
}
