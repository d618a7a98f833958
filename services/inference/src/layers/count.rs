//! Counts requests for answers by status, and refusals by their reason.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::{api_error::ApiError, app::App};

/// Put into the response's extensions by routes that answer for a model. Only names of models that exist become
/// labels: clients must not be able to make new series.
#[derive(Clone)]
pub(crate) struct ModelLabel(pub Arc<str>);

pub(crate) async fn requests(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let model = response.extensions().get::<ModelLabel>();
    let is_question = method == Method::POST && (path.ends_with(":predict") || path.ends_with("/infer"));
    if model.is_some() || is_question {
        let model = model.map_or("", |label| &label.0);
        app.metrics.requests.with_label_values(&[model, response.status().as_str()]).inc();
    }
    if let Some(refusal) = response.extensions().get::<ApiError>() {
        app.metrics.rejected.with_label_values(&[refusal.code.reason()]).inc();
    }
    response
}
