//! What a feature looked like at training time: its bins and how full they were.

use serde::{Deserialize, Serialize};

use crate::bootstrap::quantile;
use crate::error::StatsError;

/// The reference distribution of one watched feature; it travels in the artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceDistribution {
    /// Name of the feature, e.g. `token_count`.
    pub feature: String,
    /// How values are put into bins.
    #[serde(flatten)]
    pub kind: FeatureKind,
    /// Observations per bin at training time; one entry for each of [`Self::bins`].
    pub counts: Vec<u64>,
}

/// How values are put into bins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FeatureKind {
    /// Bin `i` holds values above `edges[i - 1]` and up to `edges[i]`; the first and the last are
    /// open, so there are `edges.len() + 1` bins.
    Numeric {
        /// Rising cut points.
        edges: Vec<f64>,
    },
    /// One bin a category, in this order, and a last one for everything else.
    Categorical {
        /// The known categories.
        categories: Vec<String>,
    },
}

impl ReferenceDistribution {
    /// Bins of (about) equal counts by the quantiles of `values`, at most `bins` of them. Ties are
    /// never split; a feature that is constant gets three bins (below, equal, above), so that it
    /// can still be seen to change.
    pub fn numeric(feature: &str, values: &[f64], bins: usize) -> Result<Self, StatsError> {
        if bins < 2 {
            return Err(StatsError::OutOfRange { name: "bins", value: bins as f64, expected: "at least 2" });
        }
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (Some(&least), Some(&greatest)) = (sorted.first(), sorted.last()) else {
            return Err(StatsError::NoObservations { sample: "the reference" });
        };
        let mut edges: Vec<f64> =
            (1..bins).filter_map(|cut| quantile(&sorted, cut as f64 / bins as f64)).collect();
        edges.dedup();
        edges.retain(|&edge| edge < greatest);
        if edges.is_empty() {
            // All quantiles sit on the greatest value: tell it apart from what lies on either side.
            edges = around(greatest).to_vec();
        } else if edges == [least] && bins > 2 {
            edges = around(least).to_vec();
        }
        let mut distribution = Self {
            feature: feature.to_owned(),
            counts: vec![0; edges.len() + 1],
            kind: FeatureKind::Numeric { edges },
        };
        for bin in sorted.iter().filter_map(|&value| distribution.bin(value)).collect::<Vec<_>>() {
            distribution.counts[bin] += 1;
        }
        Ok(distribution)
    }

    /// One bin for each of `categories` and one for the rest.
    pub fn categorical<'a>(
        feature: &str,
        categories: &[String],
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, StatsError> {
        let mut distribution = Self {
            feature: feature.to_owned(),
            kind: FeatureKind::Categorical { categories: categories.to_vec() },
            counts: vec![0; categories.len() + 1],
        };
        for value in values {
            if let Some(bin) = distribution.bin_category(value) {
                distribution.counts[bin] += 1;
            }
        }
        if distribution.total() == 0 {
            return Err(StatsError::NoObservations { sample: "the reference" });
        }
        Ok(distribution)
    }

    /// The bin of a number: `None` for NaN, and for a categorical feature.
    pub fn bin(&self, value: f64) -> Option<usize> {
        match &self.kind {
            FeatureKind::Numeric { edges } if !value.is_nan() => {
                Some(edges.partition_point(|&edge| edge < value))
            }
            _ => None,
        }
    }

    /// The bin of a category, the last one for an unknown category: `None` for a numeric feature.
    pub fn bin_category(&self, value: &str) -> Option<usize> {
        match &self.kind {
            FeatureKind::Categorical { categories } => {
                Some(categories.iter().position(|category| category == value).unwrap_or(categories.len()))
            }
            FeatureKind::Numeric { .. } => None,
        }
    }

    /// How many bins there are.
    pub fn bins(&self) -> usize {
        match &self.kind {
            FeatureKind::Numeric { edges } => edges.len() + 1,
            FeatureKind::Categorical { categories } => categories.len() + 1,
        }
    }

    /// All observations of the reference.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A name for each bin, unique within the feature and in the order of the bins when sorted as
    /// text; the `bin` label of metrics. Two digits (or more) and the range or category.
    pub fn bin_labels(&self) -> Vec<String> {
        let width = self.bins().saturating_sub(1).to_string().len().max(2);
        (0..self.bins()).map(|bin| format!("{bin:0width$} {}", self.bin_range(bin))).collect()
    }

    fn bin_range(&self, bin: usize) -> String {
        match &self.kind {
            FeatureKind::Categorical { categories } => {
                categories.get(bin).cloned().unwrap_or_else(|| "(other)".to_owned())
            }
            FeatureKind::Numeric { edges } => {
                match (bin.checked_sub(1).and_then(|low| edges.get(low)), edges.get(bin)) {
                    (None, Some(high)) => format!("<= {}", short(*high)),
                    (Some(low), Some(high)) => format!("{} .. {}", short(*low), short(*high)),
                    (Some(low), None) => format!("> {}", short(*low)),
                    (None, None) => "all".to_owned(),
                }
            }
        }
    }

    /// Checks what a file may have got wrong: counts and edges that do not belong together.
    pub fn validate(&self) -> Result<(), StatsError> {
        if self.counts.len() != self.bins() {
            return Err(StatsError::BinsDiffer { reference: self.bins(), observed: self.counts.len() });
        }
        if self
            .counts
            .iter()
            .try_fold(0u64, |sum, &count| sum.checked_add(count))
            .is_none_or(|total| total == 0)
        {
            return Err(StatsError::NoObservations { sample: "the reference" });
        }
        if let FeatureKind::Numeric { edges } = &self.kind {
            let ordered = edges.windows(2).all(|pair| pair[0] < pair[1]);
            if let Some(&edge) = edges.iter().find(|edge| !edge.is_finite() || !ordered) {
                return Err(StatsError::OutOfRange {
                    name: "edges",
                    value: edge,
                    expected: "finite numbers, each above the one before",
                });
            }
        }
        Ok(())
    }
}

/// Edges just below and just above a value: wide enough to survive being written as JSON and read by
/// a parser that is off by a last digit.
fn around(value: f64) -> [f64; 2] {
    let gap = 1e-9 * value.abs().max(1e-3);
    [value - gap, value + gap]
}

/// Four significant digits, without an exponent where the number is of ordinary size.
fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let decimals = if size == 0.0 { 0 } else { (3 - size.log10().floor() as i32).clamp(0, 8) as usize };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
