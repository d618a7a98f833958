//! Reading request bodies: bounded in size and time, inflated where they are compressed, and of the right type.

use std::{
    error::Error,
    io::{self, Read},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
};
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use serde::de::DeserializeOwned;

use crate::{
    api_error::{ApiError, Code},
    app::App,
};

/// The whole body as it was before compression, if it arrives within the deadline and neither what arrives nor what
/// it inflates to is larger than a body may be.
pub(crate) async fn read(app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let limit = app.max_body_bytes;
    let compression = compression(headers)?;
    let bytes = collect(body, limit, app.deadline).await?;
    match compression {
        None => Ok(bytes),
        Some(compression) => inflate(compression, &bytes, limit),
    }
}

pub(crate) async fn collect(body: Body, limit: usize, time: Duration) -> Result<Bytes, ApiError> {
    let reading = axum::body::to_bytes(body, limit);
    match tokio::time::timeout(time, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large(limit)),
        Ok(Err(_)) => Err(ApiError::new(Code::Malformed, "the request body ended before it was complete")),
        Err(_) => Err(ApiError::new(Code::SlowClient, "the request body did not arrive in time")),
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(Code::TooLarge, format!("the request body is larger than {limit} bytes"))
}

#[derive(Clone, Copy, Debug)]
enum Compression {
    Gzip,
    /// In zlib's wrapping, as HTTP means it.
    Deflate,
}

fn compression(headers: &HeaderMap) -> Result<Option<Compression>, ApiError> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match (encodings.next().map(|encoding| encoding.as_bytes()), encodings.next()) {
        (None | Some(b"identity"), None) => Ok(None),
        (Some(b"gzip" | b"x-gzip"), None) => Ok(Some(Compression::Gzip)),
        (Some(b"deflate"), None) => Ok(Some(Compression::Deflate)),
        _ => Err(ApiError::new(Code::UnsupportedMediaType, "Content-Encoding may be gzip or deflate")),
    }
}

fn inflate(compression: Compression, bytes: &[u8], limit: usize) -> Result<Bytes, ApiError> {
    let inflated = match compression {
        Compression::Gzip => read_bounded(MultiGzDecoder::new(bytes), limit),
        Compression::Deflate => read_bounded(ZlibDecoder::new(bytes), limit),
    };
    match inflated {
        Ok(inflated) if inflated.len() > limit => Err(too_large(limit)),
        Ok(inflated) => Ok(inflated.into()),
        Err(_) => {
            let name = format!("{compression:?}").to_lowercase();
            let message = format!("the body is not what Content-Encoding says: {name}");
            Err(ApiError::new(Code::Malformed, message))
        }
    }
}

/// All that `reader` gives, or one byte more than the limit.
fn read_bounded(reader: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A JSON body as a value.
pub(crate) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    require_json(headers)?;
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

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = media_type(value);
    if kind == "application/json" || kind.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::new(Code::UnsupportedMediaType, "send JSON with Content-Type: application/json"))
}

/// The media type of a Content-Type, in small letters and without parameters.
pub(crate) fn media_type(value: &HeaderValue) -> String {
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression as Level,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    #[test]
    fn what_is_compressed_is_inflated_up_to_the_limit() {
        let text = b"good film ".repeat(100);
        let mut gzip = GzEncoder::new(Vec::new(), Level::default());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Level::default());
        zlib.write_all(&text).unwrap();
        let zlib = zlib.finish().unwrap();
        for (compression, bytes) in [(Compression::Gzip, &gzip), (Compression::Deflate, &zlib)] {
            assert_eq!(inflate(compression, bytes, 1000).unwrap(), text);
            assert_eq!(inflate(compression, bytes, 999).unwrap_err().code, Code::TooLarge);
            let cut = &bytes[..bytes.len() - 5];
            assert_eq!(inflate(compression, cut, 1000).unwrap_err().code, Code::Malformed);
            assert_eq!(inflate(compression, b"{}", 1000).unwrap_err().code, Code::Malformed);
        }
    }
}
