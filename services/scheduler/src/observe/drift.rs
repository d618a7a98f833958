//! Drift over windows that follow one another. Each window is judged once: the budget of false alarms counts windows,
//! and overlapping ones would spend it many times over.

use std::collections::BTreeMap;

use refit_stats::{DriftPolicy, DriftVerdict, FeatureCounts, FeatureDrift, judge_drift};

use super::{counters::Totals, exposition::Sample};
use crate::{
    SchedulerError,
    plan::{Drift, DriftedFeature, Seconds},
};

/// The window that is being filled, and the verdict on the last one.
#[derive(Debug)]
pub struct Windows {
    length: Seconds,
    policy: DriftPolicy,
    open: Option<Open>,
    verdict: Option<Verdict>,
}

#[derive(Debug)]
struct Open {
    version: String,
    since: Seconds,
    start: Totals,
}

/// A judged window.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The version that was watched.
    pub version: String,
    /// When the window began.
    pub from: Seconds,
    /// When it ended.
    pub until: Seconds,
    /// Predictions in it.
    pub rows: u64,
    /// Every feature.
    pub features: Vec<FeatureDrift>,
}

impl Windows {
    /// Windows of `length` seconds.
    pub fn new(length: Seconds, policy: DriftPolicy) -> Self {
        Self { length: length.max(1), policy, open: None, verdict: None }
    }

    /// Takes the counters of now; returns a verdict when a window has become complete.
    pub fn look(
        &mut self,
        version: &str,
        model: &str,
        now: Seconds,
        totals: &Totals,
        reference: &[Sample],
    ) -> Result<Option<&Verdict>, SchedulerError> {
        let open = match &mut self.open {
            Some(open) if open.version == version => open,
            _ => {
                self.verdict = None;
                self.open = Some(Open { version: version.to_owned(), since: now, start: totals.clone() });
                return Ok(None);
            }
        };
        if now - open.since < self.length {
            return Ok(None);
        }
        let labels = [("model", model), ("version", version)];
        let rows = totals.grown(&open.start, "refit_predictions_total", &labels);
        let counts = counts(totals, &open.start, &labels, reference);
        let features: Vec<FeatureCounts<'_>> = counts
            .iter()
            .map(|(feature, (reference, observed))| FeatureCounts { feature, reference, observed })
            .collect();
        let features = judge_drift(&features, &self.policy)?;
        let verdict = Verdict { version: version.to_owned(), from: open.since, until: now, rows, features };
        self.open = Some(Open { version: version.to_owned(), since: now, start: totals.clone() });
        Ok(Some(self.verdict.insert(verdict)))
    }

    /// The last complete window.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// As the planner knows it.
    pub fn drift(&self) -> Drift {
        let Some(verdict) = &self.verdict else { return Drift::Gathering };
        let judged = verdict.features.iter().filter(|feature| feature.verdict != DriftVerdict::TooFew);
        let tested = judged.clone().count();
        if tested == 0 {
            return Drift::Gathering;
        }
        let mut drifted: Vec<DriftedFeature> = judged
            .filter(|feature| feature.verdict == DriftVerdict::Drifted)
            .map(|feature| DriftedFeature {
                feature: feature.feature.clone(),
                psi: feature.test.map_or(0.0, |test| test.psi),
                p_value: feature.adjusted_p_value.unwrap_or(1.0),
            })
            .collect();
        drifted.sort_by(|a, b| a.p_value.total_cmp(&b.p_value).then(b.psi.total_cmp(&a.psi)));
        Drift::Window { rows: verdict.rows, drifted, tested }
    }
}

type Counts = BTreeMap<String, (Vec<u64>, Vec<u64>)>;

/// Reference and observed counts by feature, over the bins that the service names for both.
fn counts(totals: &Totals, start: &Totals, labels: &[(&str, &str)], reference: &[Sample]) -> Counts {
    let mut bins: BTreeMap<String, BTreeMap<String, (f64, f64)>> = BTreeMap::new();
    let matching = |sample: &&Sample| {
        sample.name == "refit_reference_observations"
            && labels.iter().all(|(label, value)| sample.label(label) == *value)
    };
    for sample in reference.iter().filter(matching) {
        let features = bins.entry(sample.label("feature").to_owned()).or_default();
        let bin = features.entry(sample.label("bin").to_owned()).or_default();
        // Every replica shows the same reference.
        bin.0 = bin.0.max(sample.value);
    }
    for (found, growth) in totals.growth(start, "refit_observations_total", labels) {
        let (Some(feature), Some(bin)) = (found.get("feature"), found.get("bin")) else { continue };
        // Without a reference there is nothing to compare with.
        if let Some(features) = bins.get_mut(feature) {
            features.entry(bin.clone()).or_default().1 += growth;
        }
    }
    bins.into_iter()
        .filter(|(_, bins)| bins.values().any(|(reference, _)| *reference > 0.0))
        .map(|(feature, bins)| {
            let (reference, observed) =
                bins.values().map(|(a, b)| (a.round() as u64, b.round() as u64)).unzip();
            (feature, (reference, observed))
        })
        .collect()
}
