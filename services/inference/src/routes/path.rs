//! Refuses a path that is not UTF-8 behind its percent signs: names of models and versions are.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::api_error::{ApiError, Code};

pub(crate) async fn readable(request: Request, next: Next) -> Response {
    if String::from_utf8(decoded(request.uri().path())).is_err() {
        return ApiError::new(Code::Malformed, "the path is not UTF-8").into_response();
    }
    next.run(request).await
}

fn decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail.first_chunk::<2>().and_then(|digits| hex::decode(digits).ok()) {
            Some(byte) if *first == b'%' => {
                decoded.extend(byte);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_are_read() {
        assert_eq!(decoded("/v1/models/%C3%A4%2F:predict"), "/v1/models/\u{e4}/:predict".as_bytes());
        assert_eq!(decoded("/%ff"), b"/\xff");
        assert_eq!(decoded("/100%/%4"), b"/100%/%4");
    }
}
