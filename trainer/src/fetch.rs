//! Sources of a spec, with their progress told as events.

use crate::data::{DataError, Fetch};
use crate::event::{Event, Listener};
use refit_spec::Spec;
use std::cell::RefCell;
use std::path::Path;

/// Runs `work` with access to the sources of `spec`; downloads are told to `tell`.
///
/// # Errors
/// Those of `work`.
pub fn fetching<R>(
    spec: &Spec,
    cache: &Path,
    tell: &mut Listener<'_>,
    work: impl FnOnce(&Fetch<'_>) -> Result<R, DataError>,
) -> Result<R, DataError> {
    let tell = RefCell::new(tell);
    let progress = |progress: crate::data::Progress| {
        let total = progress.total.unwrap_or(0);
        (tell.borrow_mut())(Event::Progress { done: progress.done, total });
    };
    work(&Fetch { progress: &progress, ..Fetch::new(cache, &spec.base_dir) })
}
