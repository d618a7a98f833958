use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{core::Collector, proto::MetricType};

/// Where the modules of a service register their metrics. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    inner: prometheus::Registry,
    families: Arc<Mutex<BTreeMap<String, MetricFamily>>>,
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
    /// One without metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a metric.
    ///
    /// # Errors
    /// When its name is taken.
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

impl MetricFamily {
    /// What is not as names and help texts of Prometheus are.
    pub fn problem(&self) -> Option<String> {
        let Self { name, kind, help, .. } = self;
        if !help.ends_with('.') {
            return Some(format!("the help of {name} is no sentence: {help:?}"));
        }
        if *kind == "untyped" {
            return Some(format!("{name} has no type"));
        }
        let is_total = name.ends_with("_total");
        (is_total != (*kind == "counter"))
            .then(|| format!("{name} is a {kind}: counters, and nothing else, end in _total"))
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

#[cfg(test)]
mod tests {
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts};

    use super::*;

    #[test]
    fn families_without_a_series_are_known_too() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("texts_total", "Texts."), &["model", "reason"]).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        let histogram = Histogram::with_opts(HistogramOpts::new("run_seconds", "Time of a run.")).unwrap();
        registry.register(Box::new(histogram)).unwrap();
        registry.register(Box::new(IntGauge::new("open", "Open.").unwrap())).unwrap();
        assert!(registry.register(Box::new(counter)).is_err(), "a name is taken once");

        let family = |name: &str, kind, labels: &[&str], help: &str| MetricFamily {
            name: name.into(),
            kind,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            help: help.into(),
        };
        let expected = [
            family("open", "gauge", &[], "Open."),
            family("run_seconds", "histogram", &[], "Time of a run."),
            family("texts_total", "counter", &["model", "reason"], "Texts."),
        ];
        assert_eq!(registry.clone().inventory(), expected);
        assert_eq!(registry.gather().len(), 2, "one family has no series");
    }

    #[test]
    fn names_and_texts_that_break_practice_are_found() {
        let check = |name: &str, kind, help: &str, expected: Option<&str>| {
            let family = MetricFamily { name: name.into(), kind, labels: Vec::new(), help: help.into() };
            assert_eq!(family.problem().as_deref(), expected);
        };
        check("texts_total", "counter", "Texts.", None);
        check("texts", "gauge", "Texts.", None);
        let total = "texts_total is a gauge: counters, and nothing else, end in _total";
        check("texts_total", "gauge", "Texts.", Some(total));
        check(
            "texts",
            "counter",
            "Texts.",
            Some("texts is a counter: counters, and nothing else, end in _total"),
        );
        check("texts", "gauge", "Texts", Some("the help of texts is no sentence: \"Texts\""));
        check("texts", "untyped", "Texts.", Some("texts has no type"));
    }
}
