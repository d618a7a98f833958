//! Files that are read again when they change: tokens, certificates. By their bytes, not by their times, so that a file
//! which is swapped through a link, or has an older time, is noticed too.

use std::{path::PathBuf, time::Duration};

/// What may be read again, as the label of a metric.
pub(crate) const TOKENS: &str = "tokens";
pub(crate) const CERTIFICATE: &str = "certificate";

const EVERY: Duration = Duration::from_secs(1);
/// More than any of these files has.
const MOST_BYTES: u64 = 1 << 20;

/// Calls `changed` soon after the start and then whenever one of the files has changed, until the task is aborted.
pub(crate) async fn watch(files: Vec<PathBuf>, changed: impl Fn() + Send + Sync) {
    let mut known = None;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let read = read(&files).await;
        if known.as_ref() != Some(&read) {
            known = Some(read);
            changed();
        }
    }
}

/// The bytes of each file; none of one that cannot be read now.
async fn read(files: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        let small = tokio::fs::metadata(file).await.is_ok_and(|it| it.is_file() && it.len() <= MOST_BYTES);
        all.push(if small { tokio::fs::read(file).await.ok() } else { None });
    }
    all
}
