//! Trace and log settings, as they are: nothing is traced in Triton's way, and logging is set when the service starts.

use tracing::level_filters::LevelFilter;

/// Triton's trace settings, which say that nothing is traced.
pub(crate) fn trace_settings() -> [(&'static str, &'static str); 5] {
    [
        ("trace_level", "OFF"),
        ("trace_rate", "0"),
        ("trace_count", "-1"),
        ("log_frequency", "0"),
        ("trace_file", ""),
    ]
}

/// Which levels are logged anywhere in the process.
pub(crate) fn log_settings() -> [(&'static str, bool); 3] {
    let most = LevelFilter::current();
    let logs = |level: LevelFilter| most >= level;
    [
        ("log_info", logs(LevelFilter::INFO)),
        ("log_warning", logs(LevelFilter::WARN)),
        ("log_error", logs(LevelFilter::ERROR)),
    ]
}
