//! What happens to every request, one file each.

use std::sync::Arc;

use axum::{Router, middleware};

use crate::app::App;

mod count;
mod size;

pub(crate) use count::ModelLabel;

/// From the innermost to the outermost, as axum wraps them.
pub(crate) fn stack(router: Router, app: &Arc<App>) -> Router {
    router
        // Innermost: a request that says how large it is, and is too large, is refused before its body is read.
        .layer(middleware::from_fn_with_state(Arc::clone(app), size::refuse_declared))
        // Outermost: refusals of other layers are counted and logged too.
        .layer(middleware::from_fn_with_state(Arc::clone(app), count::requests))
}
