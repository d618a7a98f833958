//! Named points at which tests kill the scheduler: `REFIT_FAULT=after:save:refit` ends the process there, as suddenly
//! as `kill -9`.

/// Ends the process if the environment names this point.
pub(super) fn fault_point(step: &str, action: &str) {
    let Ok(wanted) = std::env::var("REFIT_FAULT") else { return };
    if wanted == format!("after:{step}:{action}") {
        std::process::abort();
    }
}
