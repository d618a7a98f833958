//! Turns away who shows no token for what is asked.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::context::Peer;
use crate::{access::needed, app::App};

pub(crate) async fn require_token(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let from = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let needed = needed(request.method(), request.uri().path());
    match app.access.admit(request.headers(), needed, from) {
        Ok(admitted) => {
            request.extensions_mut().insert(Arc::new(admitted));
            next.run(request).await
        }
        Err(refused) => {
            let mut response = refused.error().into_response();
            if let Ok(challenge) = HeaderValue::from_str(&refused.challenge()) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}
