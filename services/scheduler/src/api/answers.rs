//! What is read: state and decisions as JSON.

use axum::{
    Json,
    extract::{Query, State as Shared},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, Context};
use crate::{execute::evidence, view::View};

pub(super) async fn state(Shared(context): Shared<Context>) -> Json<Value> {
    let latest = context.board.latest();
    Json(json!({
        "model": context.config.model(),
        "looked_at": latest.looked_at,
        "error": latest.error,
        "view": latest.view.as_deref().map(view),
    }))
}

fn view(view: &View) -> Value {
    let state = &view.state;
    json!({
        "observed_at": state.now,
        "phase": view.memory.phase,
        "deployment": view.deployment,
        "judge": evidence::judge(&state.judge),
        "drift": evidence::drift(&state.drift),
        "drift_features": view.drift.as_ref().map(|verdict| &verdict.features),
        "canary": state.canary.as_ref().map(evidence::canary),
        "new_labels": state.new_labels,
        "unseen_labels": state.unseen_labels,
        "missing": evidence::missing(state),
        "alarms": view.memory.alarms,
        "refit_requested_by": view.memory.refit_requested_by,
        "plan": {
            "actions": view.plan.actions.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "reasons": view.plan.reasons,
        },
    })
}

#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default = "hundred")]
    limit: u32,
}

fn hundred() -> u32 {
    100
}

pub(super) async fn decisions(
    Shared(context): Shared<Context>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let decisions = context.store.decisions(Some(context.config.model()), page.limit.min(10_000)).await?;
    Ok(Json(json!({ "decisions": decisions })))
}
