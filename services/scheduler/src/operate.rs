//! What a person may decide, by command line or control API: each is a decision on record like the loop's own.

use refit_store::{Deployment, LoopState, NewDecision, Store, StoreError, VersionStatus};
use serde_json::json;

use crate::memory::Memory;

/// A person's decision.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The model.
    pub model: &'a str,
    /// Why, as one sentence.
    pub reason: &'a str,
    /// Who.
    pub by: &'a str,
}

/// Makes a version the champion. A canary ends.
pub async fn promote(store: &Store, order: Order<'_>, version: &str) -> Result<Deployment, StoreError> {
    let generation = store.deployment(order.model).await?.generation;
    let deployment = store.set_champion(order.model, generation, version, order.reason, order.by).await?;
    record(store, order, "promote", &format!("version {version} serves"), deployment.generation).await?;
    Ok(deployment)
}

/// Gives a version a share of the requests, or changes its share. The loop leaves a canary that it did not begin to the
/// person who did.
pub async fn canary(
    store: &Store,
    order: Order<'_>,
    version: &str,
    percent: f64,
) -> Result<Deployment, StoreError> {
    let generation = store.deployment(order.model).await?.generation;
    let deployment = store.set_canary(order.model, generation, version, percent, order.reason).await?;
    let what = format!("version {version} answers {percent} % of the requests");
    record(store, order, "canary", &what, deployment.generation).await?;
    Ok(deployment)
}

/// Gives a version a copy of a share of the requests; it answers none.
pub async fn shadow(
    store: &Store,
    order: Order<'_>,
    version: &str,
    percent: f64,
) -> Result<Deployment, StoreError> {
    let generation = store.deployment(order.model).await?.generation;
    let deployment = store.set_shadow(order.model, generation, version, percent, order.reason).await?;
    let what = format!("version {version} gets a copy of {percent} % of the requests");
    record(store, order, "shadow", &what, deployment.generation).await?;
    Ok(deployment)
}

/// Takes the shadow away.
pub async fn end_shadow(store: &Store, order: Order<'_>) -> Result<Deployment, StoreError> {
    let generation = store.deployment(order.model).await?.generation;
    let deployment = store.clear_shadow(order.model, generation).await?;
    record(store, order, "shadow", "the shadow is taken away", deployment.generation).await?;
    Ok(deployment)
}

/// Takes the canary back if there is one, else goes back to the champion before this one.
pub async fn rollback(store: &Store, order: Order<'_>) -> Result<Deployment, StoreError> {
    let before = store.deployment(order.model).await?;
    let (deployment, what) = match &before.canary {
        Some(canary) => (
            store.clear_canary(order.model, before.generation, VersionStatus::RolledBack).await?,
            format!("the canary {} is taken back", canary.version),
        ),
        None => {
            let after = store.rollback(order.model, before.generation, order.reason, order.by).await?;
            let version = after.champion.as_ref().map_or("", |champion| champion.version.as_str());
            let what = format!("version {version} serves again");
            (after, what)
        }
    };
    record(store, order, "rollback", &what, deployment.generation).await?;
    Ok(deployment)
}

/// Asks the loop for a refit; it begins when the loop watches again.
pub async fn request_refit(store: &Store, order: Order<'_>) -> Result<(), StoreError> {
    loop {
        let memory = store.loop_state::<Memory>(order.model).await?;
        let (revision, mut memory) =
            memory.map_or((0, Memory::default()), |LoopState { revision, state, .. }| (revision, state));
        memory.refit_requested_by = Some(format!("{} ({})", order.by, order.reason));
        match store.save_loop_state(order.model, revision, &memory).await {
            Err(StoreError::StaleLoopState { .. }) => {}
            done => return done.map(|_| ()),
        }
    }
}

async fn record(
    store: &Store,
    order: Order<'_>,
    kind: &str,
    what: &str,
    generation: i64,
) -> Result<(), StoreError> {
    let decision = NewDecision {
        model: order.model.to_owned(),
        key: format!("{kind} by hand {generation}"),
        kind: kind.to_owned(),
        reason: format!("{what}: {} (by {})", order.reason, order.by),
        evidence: json!({ "by": order.by, "generation": generation }),
    };
    store.record_decision(&decision).await.map(|_| ())
}
