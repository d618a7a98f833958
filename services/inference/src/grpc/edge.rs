//! What makes a gRPC request of an HTTP request and the other way round, around all other layers: deadlines, and refusals
//! of layers that know HTTP only.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::{self, Next},
    response::Response,
};
use tonic::{Code, Status};

use super::status::of_http;
use crate::{answer::late, api_error::ApiError, app::App};

/// The services that there are, as paths begin.
const SERVICES: [&str; 2] = ["/inference.GRPCInferenceService/", "/grpc.health.v1.Health/"];

/// Methods that may take longer than an answer: streams, of which each answer has its deadline, and loading.
const LONG: [&str; 3] = ["/ModelStreamInfer", "/Watch", "/RepositoryModelLoad"];

/// Wraps `router`, with all its layers.
pub(crate) fn edge(router: Router, app: &Arc<App>) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::clone(app), translate))
}

async fn translate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !is_grpc(request.headers()) {
        return next.run(request).await;
    }
    let path = request.uri().path();
    if !SERVICES.iter().any(|service| path.starts_with(service)) {
        return Status::unimplemented(format!("there is no gRPC service at {path}")).into_http();
    }
    let own = (!LONG.iter().any(|method| path.ends_with(method))).then_some(app.deadline);
    let limit = [own, timeout(request.headers())].into_iter().flatten().min();
    let answer = next.run(request);
    let response = match limit {
        None => answer.await,
        // The answer is dropped with all that it waits for.
        Some(limit) => match tokio::time::timeout(limit, answer).await {
            Ok(response) => response,
            Err(_) => return Status::from(late(limit)).into_http(),
        },
    };
    if is_grpc(response.headers()) { with_usual_code(response) } else { refusal(&response).into_http() }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// How long the client waits: up to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// A message that is too large exhausts a resource in every other implementation; only this library says that it is
/// out of range, which nothing else here is.
fn with_usual_code(mut response: Response) -> Response {
    let exhausted = HeaderValue::from(Code::ResourceExhausted as i32);
    if let Some(code) = response.headers_mut().get_mut("grpc-status")
        && *code == HeaderValue::from(Code::OutOfRange as i32)
    {
        *code = exhausted;
    }
    response
}

/// What a refusal in HTTP means.
fn refusal(response: &Response<Body>) -> Status {
    match response.extensions().get::<ApiError>() {
        Some(error) => error.clone().into(),
        None => of_http(response.status()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_specification_writes_them() {
        let read = |text: &'static str| {
            timeout(&HeaderMap::from_iter([(
                "grpc-timeout".parse().unwrap(),
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(read("1S"), Some(Duration::from_secs(1)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "1", "-1S", "1.5S", "123456789S", "1x"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
