//! Prometheus' registry, which also remembers what was registered.
//!
//! A family of which no series exists yet is not gathered, so a list of gathered families would depend on what has
//! happened so far. The inventory in `docs/metrics.md` is made of what is remembered here.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Mutex, PoisonError},
};

use prometheus::{core::Collector, proto::MetricType};

/// Where the modules register their metrics.
#[derive(Default)]
pub(crate) struct Registry {
    inner: prometheus::Registry,
    families: Mutex<BTreeMap<String, MetricFamily>>,
}

/// What `/metrics` may tell under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFamily {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What tells its series apart.
    pub labels: Vec<String>,
    /// What it means.
    pub help: String,
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a metric; its name must be new.
    pub fn register(&self, collector: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        let kinds: BTreeMap<String, &'static str> = collector
            .collect()
            .iter()
            .map(|family| (family.name().to_owned(), kind(family.get_field_type())))
            .collect();
        let families: Vec<MetricFamily> = collector
            .desc()
            .into_iter()
            .map(|desc| MetricFamily {
                name: desc.fq_name.clone(),
                kind: kinds.get(&desc.fq_name).copied().unwrap_or("untyped"),
                labels: desc.variable_labels.clone(),
                help: desc.help.clone(),
            })
            .collect();
        self.inner.register(collector)?;
        let mut known = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(families.into_iter().map(|family| (family.name.clone(), family)));
        Ok(())
    }

    /// Every family, by name, whether it has series or not.
    pub fn inventory(&self) -> Vec<MetricFamily> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Deref for Registry {
    type Target = prometheus::Registry;

    fn deref(&self) -> &prometheus::Registry {
        &self.inner
    }
}

fn kind(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "untyped",
    }
}
