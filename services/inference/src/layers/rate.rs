//! Turns away who asks more often than is allowed, and says when to come again.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    access::{Admitted, Needed, needed},
    api_error::{ApiError, Code},
    app::App,
};

pub(crate) async fn limit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // A probe that is refused would end the service.
    if needed(request.method(), request.uri().path()) == Needed::Nothing {
        return next.run(request).await;
    }
    let Some(admitted) = request.extensions().get::<Arc<Admitted>>().cloned() else {
        return next.run(request).await;
    };
    match app.buckets.take(&admitted.caller, admitted.rate, Instant::now()) {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            let message = format!("too many requests: the next may come in {:.2} s", wait.as_secs_f64());
            let mut response = ApiError::new(Code::RateLimited, message).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
    }
}
