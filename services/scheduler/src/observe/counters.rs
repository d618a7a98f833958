//! Counters of several replicas as sums that never fall: a replica that restarts begins at zero again, and one that
//! leaves keeps what it had counted.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::exposition::Sample;

/// A counter or a part of a histogram, without its replica.
pub type Series = (String, BTreeMap<String, String>);

/// Sums over replicas since the scheduler first saw each.
#[derive(Debug, Default)]
pub struct Counters {
    last: HashMap<String, HashMap<Series, f64>>,
    total: HashMap<Series, f64>,
}

/// The sums at one time; two of them make a window.
#[derive(Clone, Debug, Default)]
pub struct Totals(HashMap<Series, f64>);

impl Counters {
    /// Takes what a replica shows now.
    pub fn take(&mut self, replica: &str, samples: &[Sample]) {
        let first_look = !self.last.contains_key(replica);
        let last = self.last.entry(replica.to_owned()).or_default();
        let mut seen = HashSet::new();
        for sample in samples.iter().filter(|sample| is_counter(&sample.name)) {
            let series = (sample.name.clone(), sample.labels.clone());
            let before = last.insert(series.clone(), sample.value);
            let grown = match before {
                Some(before) if sample.value >= before => sample.value - before,
                // It began again at zero.
                Some(_) => sample.value,
                // What a replica counted before the scheduler came belongs to no window of its.
                None if first_look => 0.0,
                None => sample.value,
            };
            *self.total.entry(series.clone()).or_default() += grown;
            seen.insert(series);
        }
        // A series that is gone starts at zero when it comes back, even if it has grown beyond its last value by then.
        last.retain(|series, _| seen.contains(series));
    }

    /// The sums now.
    pub fn totals(&self) -> Totals {
        Totals(self.total.clone())
    }
}

fn is_counter(name: &str) -> bool {
    ["_total", "_bucket", "_count", "_sum"].iter().any(|part| name.ends_with(part))
}

impl Totals {
    /// Growth of all series of `name` since `earlier` that carry these labels.
    pub fn growth<'a>(
        &'a self,
        earlier: &'a Totals,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a BTreeMap<String, String>, f64)> {
        self.0.iter().filter_map(move |(series, value)| {
            let carries =
                labels.iter().all(|(label, value)| series.1.get(*label).is_some_and(|found| found == value));
            (series.0 == name && carries)
                .then(|| (&series.1, value - earlier.0.get(series).copied().unwrap_or(0.0)))
        })
    }

    /// The sum of [`Totals::growth`], as a count.
    pub fn grown(&self, earlier: &Totals, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.growth(earlier, name, labels).map(|(_, growth)| growth).sum::<f64>().round() as u64
    }

    /// A quantile of a histogram's growth since `earlier`, interpolated within its bucket as Prometheus does; `None`
    /// without observations.
    pub fn quantile(
        &self,
        earlier: &Totals,
        name: &str,
        labels: &[(&str, &str)],
        quantile: f64,
    ) -> Option<f64> {
        let buckets = self.buckets(earlier, name, labels);
        let all = buckets.last()?.1;
        if all <= 0.0 {
            return None;
        }
        let rank = quantile * all;
        let mut lower = (0.0, 0.0);
        for (le, count) in buckets {
            if count >= rank {
                // Beyond the last finite bound nothing is known but the bound.
                return Some(if le.is_infinite() || count <= lower.1 {
                    lower.0
                } else {
                    lower.0 + (le - lower.0) * (rank - lower.1) / (count - lower.1)
                });
            }
            lower = (le, count);
        }
        None
    }

    /// How many observations of a histogram's growth since `earlier` lie above the first bound that is at least
    /// `value`, and how many there are.
    pub fn above(&self, earlier: &Totals, name: &str, labels: &[(&str, &str)], value: f64) -> (u64, u64) {
        let buckets = self.buckets(earlier, name, labels);
        let all = buckets.last().map_or(0.0, |bucket| bucket.1);
        let below = buckets.iter().find(|bucket| bucket.0 >= value).map_or(0.0, |bucket| bucket.1);
        ((all - below).max(0.0).round() as u64, all.max(0.0).round() as u64)
    }

    /// Upper bounds of a histogram, rising, with the growth of their cumulative counts since `earlier`.
    fn buckets(&self, earlier: &Totals, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let mut buckets: BTreeMap<String, f64> = BTreeMap::new();
        let bucket_name = format!("{name}_bucket");
        for (found, growth) in self.growth(earlier, &bucket_name, labels) {
            *buckets.entry(found.get("le").cloned().unwrap_or_default()).or_default() += growth;
        }
        let mut buckets: Vec<(f64, f64)> =
            buckets.into_iter().filter_map(|(le, count)| Some((bound(&le)?, count))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

fn bound(le: &str) -> Option<f64> {
    if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::parse;
    use super::*;

    fn look(counters: &mut Counters, replica: &str, text: &str) {
        counters.take(replica, &parse(text).0);
    }

    fn grown(counters: &Counters, since: &Totals) -> u64 {
        counters.totals().grown(since, "p_total", &[("version", "1")])
    }

    #[test]
    fn replicas_add_up_and_restarts_lose_nothing() {
        let mut counters = Counters::default();
        look(&mut counters, "a", "p_total{version=\"1\"} 100");
        look(&mut counters, "b", "p_total{version=\"1\"} 5\np_total{version=\"2\"} 5");
        let start = counters.totals();
        assert_eq!(grown(&counters, &start), 0, "what was counted before the first look is in no window");
        look(&mut counters, "a", "p_total{version=\"1\"} 130");
        look(&mut counters, "b", "p_total{version=\"1\"} 6\np_total{version=\"2\"} 50");
        assert_eq!(grown(&counters, &start), 31);
        look(&mut counters, "a", "p_total{version=\"1\"} 4");
        assert_eq!(grown(&counters, &start), 35, "a restart begins at zero");
        look(&mut counters, "a", "up 1");
        look(&mut counters, "a", "p_total{version=\"1\"} 9");
        assert_eq!(grown(&counters, &start), 44, "a series that comes back begins at zero");
    }

    #[test]
    fn quantiles_of_a_window() {
        let mut counters = Counters::default();
        let text = |a: u32, b: u32, c: u32| {
            format!("t_bucket{{le=\"0.1\"}} {a}\nt_bucket{{le=\"0.2\"}} {b}\nt_bucket{{le=\"+Inf\"}} {c}")
        };
        look(&mut counters, "a", &text(1000, 1000, 1000));
        let start = counters.totals();
        assert_eq!(counters.totals().quantile(&start, "t", &[], 0.95), None);
        look(&mut counters, "a", &text(1050, 1100, 1100));
        let p95 = counters.totals().quantile(&start, "t", &[], 0.95).unwrap();
        assert!((p95 - 0.19).abs() < 1e-12, "{p95}");
        for (value, above) in [(0.05, 50), (0.1, 50), (0.15, 0), (7.0, 0)] {
            assert_eq!(counters.totals().above(&start, "t", &[], value), (above, 100), "{value}");
        }
        look(&mut counters, "a", &text(1050, 1100, 1200));
        assert_eq!(counters.totals().quantile(&start, "t", &[], 0.95), Some(0.2));
    }
}
