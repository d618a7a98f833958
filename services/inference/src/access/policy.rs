//! What a path asks for, over HTTP and gRPC alike. A path that is not known here asks for the scope of its kind: to
//! read needs `predict`, to change needs `admin`, so that a new route is never open by accident.

use axum::http::Method;

use super::Scope;

/// What a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needed {
    /// Nothing: whether the service lives and is ready is for everybody to know.
    Nothing,
    /// A token with this scope.
    Scope(Scope),
}

/// Methods of the Open Inference Protocol's gRPC service that balancers ask.
const OPEN_CALLS: [&str; 3] = ["ServerLive", "ServerReady", "ModelReady"];

/// What a request needs.
pub(crate) fn needed(method: &Method, path: &str) -> Needed {
    if let Some((service, call)) = path.strip_prefix('/').and_then(|path| path.split_once('/'))
        && service.contains('.')
    {
        return needed_by_call(service, call);
    }
    let read = matches!(*method, Method::GET | Method::HEAD);
    if is_open(path) && read {
        return Needed::Nothing;
    }
    Needed::Scope(match path {
        "/metrics" => Scope::Metrics,
        "/v1/feedback" => Scope::Feedback,
        _ if read || asks_for_answers(path) => Scope::Predict,
        _ => Scope::Admin,
    })
}

fn needed_by_call(service: &str, call: &str) -> Needed {
    if service.starts_with("grpc.health.") || OPEN_CALLS.contains(&call) {
        return Needed::Nothing;
    }
    let changes = ["Load", "Unload", "Register", "Unregister", "Setting", "Settings"];
    let admin = changes.iter().any(|change| call.ends_with(change));
    Needed::Scope(if admin { Scope::Admin } else { Scope::Predict })
}

fn is_open(path: &str) -> bool {
    let health = ["/v2/health/", "/v1/health/", "/health/"].iter().any(|prefix| path.starts_with(prefix));
    let model_ready = path.starts_with("/v2/models/") && path.ends_with("/ready");
    health || model_ready || matches!(path, "/ping" | "/health" | "/openapi.json" | "/docs" | "/")
}

/// Routes that take a body but change nothing.
fn asks_for_answers(path: &str) -> bool {
    path.ends_with(":predict")
        || path.ends_with("/infer")
        || path.ends_with("/infer_stream")
        || path.ends_with("/generate")
        || matches!(path, "/v1/embeddings" | "/invocations" | "/v2/repository/index")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_path() {
        use Needed::{Nothing, Scope as Token};
        for (method, path, expected) in [
            (Method::GET, "/v2/health/live", Nothing),
            (Method::GET, "/v2/models/m/versions/2/ready", Nothing),
            (Method::POST, "/v2/health/live", Token(Scope::Admin)),
            (Method::GET, "/ping", Nothing),
            (Method::GET, "/metrics", Token(Scope::Metrics)),
            (Method::GET, "/v1/models", Token(Scope::Predict)),
            (Method::POST, "/v1/models/m:predict", Token(Scope::Predict)),
            (Method::POST, "/v2/models/m/infer", Token(Scope::Predict)),
            (Method::POST, "/v1/feedback", Token(Scope::Feedback)),
            (Method::POST, "/v2/repository/models/m/load", Token(Scope::Admin)),
            (Method::PUT, "/something/new", Token(Scope::Admin)),
            (Method::GET, "/something/new", Token(Scope::Predict)),
            (Method::POST, "/inference.GRPCInferenceService/ServerLive", Nothing),
            (Method::POST, "/inference.GRPCInferenceService/ModelInfer", Token(Scope::Predict)),
            (Method::POST, "/inference.GRPCInferenceService/RepositoryModelUnload", Token(Scope::Admin)),
            (Method::POST, "/grpc.health.v1.Health/Check", Nothing),
        ] {
            assert_eq!(needed(&method, path), expected, "{method} {path}");
        }
    }
}
