//! What the process itself takes up, as the system tells it, under the names that Prometheus' own libraries use.

use prometheus::IntGauge;

use refit_metrics::Registry;

/// Brought up to date whenever the metrics are read.
pub(crate) struct ProcessMetrics {
    memory: IntGauge,
    files: IntGauge,
    most_files: IntGauge,
    started: IntGauge,
}

impl ProcessMetrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let metrics = Self {
            memory: gauge("process_resident_memory_bytes", "Memory that the process holds.")?,
            files: gauge("process_open_fds", "Files and connections that the process has open.")?,
            most_files: gauge("process_max_fds", "Files and connections that it may have open.")?,
            started: gauge("process_start_time_seconds", "When the process began to serve, in Unix time.")?,
        };
        metrics.started.set(jiff::Timestamp::now().as_second());
        Ok(metrics)
    }

    /// Where the system does not tell, the last value stays.
    pub fn update(&self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kibibytes) = number(&status, "VmRSS:") {
            self.memory.set(kibibytes.saturating_mul(1024));
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            self.files.set(i64::try_from(files.count()).unwrap_or(i64::MAX));
        }
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(files) = number(&limits, "Max open files") {
            self.most_files.set(files);
        }
    }
}

/// The first number of the line that begins with `name`.
fn number(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
