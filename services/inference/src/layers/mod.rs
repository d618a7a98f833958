//! What happens to every request, one file each. All of it is written against HTTP alone, so that gRPC, as an axum router,
//! is wrapped in the same stack; around it `grpc::edge` writes refusals as its clients read them.

use std::sync::Arc;

use axum::{Router, middleware};

use crate::app::App;

mod authorize;
mod context;
mod count;
mod drain;
mod payload;
mod rate;
mod size;
mod trace;

pub(crate) use context::{Peer, RequestContext};
pub(crate) use count::ModelLabel;
pub(crate) use trace::Trace;

/// From the innermost to the outermost, as axum wraps them.
pub(crate) fn stack(router: Router, app: &Arc<App>) -> Router {
    let state = || Arc::clone(app);
    let router = if app.log_payloads {
        // Innermost: only what was let in, and small enough, is read and logged.
        router.layer(middleware::from_fn_with_state(state(), payload::log))
    } else {
        router
    };
    let router = router
        // A request that says how large it is, and is too large, is refused before its body is read.
        .layer(middleware::from_fn_with_state(state(), size::refuse_declared))
        // Only who is known has a bucket of its own.
        .layer(middleware::from_fn_with_state(state(), rate::limit))
        // Before anything that costs something.
        .layer(middleware::from_fn_with_state(state(), authorize::require_token))
        // Outside of all that refuses without having read.
        .layer(middleware::from_fn(drain::rest));
    open(router, app)
}

/// The layers of what is answered to everybody.
pub(crate) fn open(router: Router, app: &Arc<App>) -> Router {
    router
        // Refusals of other layers are counted too.
        .layer(middleware::from_fn_with_state(Arc::clone(app), count::requests))
        // Outermost: whatever is logged on the way carries the request's id and trace.
        .layer(middleware::from_fn_with_state(Arc::clone(app), context::begin))
}
