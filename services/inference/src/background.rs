//! What the service does from time to time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use refit_store::{Retention, Store};

use crate::{config::RecordConfig, error::chain};

const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Forgets old predictions, until the task is aborted.
pub(crate) async fn prune(store: Store, config: RecordConfig) {
    let mut ticks = tokio::time::interval(PRUNE_EVERY);
    loop {
        ticks.tick().await;
        let retention = Retention {
            unlabelled_before: before(config.keep_unlabelled),
            labelled_before: before(config.keep_labelled),
            drift_before: before(config.keep_labelled),
        };
        match store.prune(retention).await {
            Ok(pruned) if pruned.predictions > 0 => {
                tracing::info!(predictions = pruned.predictions, "forgot old predictions");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = chain(&error), "old predictions cannot be forgotten yet"),
        }
    }
}

fn before(age: Duration) -> Timestamp {
    SignedDuration::try_from(age)
        .ok()
        .and_then(|age| Timestamp::now().checked_sub(age).ok())
        .unwrap_or(Timestamp::MIN)
}
