//! Follows the deployments in the store, and publishes live accuracy.

use std::{sync::Arc, time::Duration};

use refit_store::{Store, StoreError};

use crate::{app::Models, catalog::Catalog};

/// Looks every `interval`, until the task is aborted.
pub(crate) async fn run(catalog: Arc<Catalog>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        catalog.look().await;
    }
}

/// Publishes live accuracy of all serving versions.
pub(crate) async fn publish_accuracy(store: &Store, models: &Models, labels: u32) -> Result<(), StoreError> {
    for model in models.all() {
        let routing = model.routing();
        for (serving, _role) in routing.serving() {
            let tally = store.recent_tally(&model.name, &serving.model.version, labels).await?;
            serving.model.watch.publish_accuracy(tally);
        }
    }
    Ok(())
}
