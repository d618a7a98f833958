//! What the service does from time to time.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use refit_store::{Retention, Store};

use crate::{app::Models, config::RecordConfig, error::chain};

const JUDGE_EVERY: Duration = Duration::from_secs(10);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Forgets old predictions, until the task is aborted.
pub(crate) async fn prune(store: Store, config: RecordConfig) {
    let mut ticks = tokio::time::interval(PRUNE_EVERY);
    let mut clock = Clock::now();
    loop {
        ticks.tick().await;
        let now = Clock::now();
        if clock.look(now) {
            tracing::error!(
                time = %now.wall,
                "the clock has jumped: nothing old is forgotten until it has gone evenly for a day"
            );
            continue;
        }
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

/// The clock on the wall beside the one that only goes forward. What is old is a matter of the first, and a jump of it must
/// not make everything old at once.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: Timestamp,
    steady: Instant,
    /// Until then the first is not trusted.
    doubted_until: Option<Instant>,
}

/// Farther than any clock drifts between two looks.
const JUMP: SignedDuration = SignedDuration::from_mins(10);
const DOUBT: Duration = Duration::from_secs(24 * 3600);

impl Clock {
    fn now() -> Self {
        Self { wall: Timestamp::now(), steady: Instant::now(), doubted_until: None }
    }

    /// Takes the present, and tells whether its time is to be doubted.
    fn look(&mut self, now: Self) -> bool {
        let passed = now.steady.saturating_duration_since(self.steady);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let apart = now.wall.duration_since(self.wall).saturating_sub(passed).abs();
        let mut doubted_until = self.doubted_until.filter(|until| now.steady < *until);
        if apart > JUMP {
            doubted_until = now.steady.checked_add(DOUBT);
        }
        *self = Self { doubted_until, ..now };
        doubted_until.is_some()
    }
}

/// Judges the windows of all that serves, so that what depends on drift does not depend on who reads the metrics.
pub(crate) async fn judge(models: Models) {
    let mut ticks = tokio::time::interval(JUDGE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for model in models.all() {
            for (serving, _) in model.routing().serving() {
                serving.model.watch.publish_drift(Instant::now());
            }
        }
    }
}

fn before(age: Duration) -> Timestamp {
    SignedDuration::try_from(age)
        .ok()
        .and_then(|age| Timestamp::now().checked_sub(age).ok())
        .unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_clock_is_doubted_for_a_day() {
        let hour = Duration::from_secs(3600);
        let mut clock = Clock::now();
        let after = |clock: &Clock, wall: SignedDuration| Clock {
            wall: clock.wall + wall,
            steady: clock.steady + hour,
            doubted_until: None,
        };
        let even = SignedDuration::from_hours(1);
        // Slowed or stepped a little, as time servers do.
        for seconds in [0, 30, -30, 300] {
            let now = after(&clock, even + SignedDuration::from_secs(seconds));
            assert!(!clock.look(now), "{seconds}");
        }
        for jump in [SignedDuration::from_hours(24 * 400), SignedDuration::from_hours(-24 * 400)] {
            let now = after(&clock, jump);
            assert!(clock.look(now));
            for hours in 1..24 {
                let now = after(&clock, even);
                assert!(clock.look(now), "{hours}");
            }
            let now = after(&clock, even);
            assert!(!clock.look(now));
        }
    }
}
