//! What paths alone decide: one that is not UTF-8 behind its percent signs is refused, since names of models and
//! versions are, and `/v1/models/{name}` and `/v1/models/{name}:predict`, one route to the router, take other methods.

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header::ALLOW},
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

/// Says with a refused method exactly which ones the path takes.
pub(crate) async fn allowed(request: Request, next: Next) -> Response {
    let allowed =
        request.uri().path().strip_prefix("/v1/models/").filter(|name| !name.contains('/')).map(|name| {
            let takes_texts = decoded(name).ends_with(b":predict");
            HeaderValue::from_static(if takes_texts { "POST" } else { "GET,HEAD" })
        });
    let mut response = next.run(request).await;
    if let (StatusCode::METHOD_NOT_ALLOWED, Some(allowed)) = (response.status(), allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
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
