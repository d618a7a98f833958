//! Counts requests for answers by status, and logs every request without its payload.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::app::App;

/// Put into the response's extensions by routes that answer for a model. Only names of models that exist become
/// labels: clients must not be able to make new series.
#[derive(Clone)]
pub(crate) struct ModelLabel(pub Arc<str>);

pub(crate) async fn requests(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let model = response.extensions().get::<ModelLabel>();
    let is_question = method == Method::POST && (path.ends_with(":predict") || path.ends_with("/infer"));
    if model.is_some() || is_question {
        let model = model.map_or("", |label| &label.0);
        app.metrics.requests.with_label_values(&[model, status.as_str()]).inc();
    }
    let seconds = started.elapsed().as_secs_f64();
    // "Not ready" is the right answer to a probe while a model is loading.
    let is_probe = path.ends_with("/ready") || path.ends_with("/live");
    if status.is_server_error() && !is_probe {
        tracing::warn!(%method, path, status = status.as_u16(), seconds, "request");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), seconds, "request");
    }
    response
}
