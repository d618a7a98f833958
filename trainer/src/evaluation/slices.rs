//! The same metrics for parts of the rows.

use std::collections::BTreeMap;

use refit_stats::{Bootstrap, ConfusionMatrix, Interval, StatsError, wilson};
use serde::{Deserialize, Serialize};

use super::Scored;

/// Resamples a slice: fewer than for the whole, since there may be many slices.
const SLICE_RESAMPLES: usize = 300;

/// Metrics of the rows with one value in one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceMetrics {
    /// The column.
    pub column: String,
    /// The value.
    pub value: String,
    /// Rows with it.
    pub rows: u64,
    /// Share of right answers.
    pub accuracy: Interval,
    /// Macro F1 over the classes that occur in the slice.
    pub f1_macro: Interval,
}

impl SliceMetrics {
    /// `column=value`.
    pub fn name(&self) -> String {
        format!("{}={}", self.column, self.value)
    }
}

/// Every slice, the worst first: that with the lowest upper end of its accuracy, so that a handful
/// of unlucky rows does not count as the worst.
pub(super) fn by_slice(
    classes: usize,
    rows: &[Scored],
    confidence: f64,
) -> Result<Vec<SliceMetrics>, StatsError> {
    let mut members: BTreeMap<(&str, &str), Vec<&Scored>> = BTreeMap::new();
    for row in rows {
        for (column, value) in &row.slices {
            members.entry((column, value)).or_default().push(row);
        }
    }
    let settings = Bootstrap { resamples: SLICE_RESAMPLES, confidence, ..Bootstrap::default() };
    let mut slices = members
        .into_iter()
        .map(|((column, value), rows)| {
            let pairs = rows.iter().map(|row| (row.truth, row.predicted()));
            let confusion = ConfusionMatrix::from_pairs(classes, pairs)?;
            Ok(SliceMetrics {
                column: column.to_owned(),
                value: value.to_owned(),
                rows: confusion.rows(),
                accuracy: wilson(confusion.correct(), confusion.rows(), confidence)?,
                f1_macro: confusion.metrics(&settings)?.f1_macro,
            })
        })
        .collect::<Result<Vec<_>, StatsError>>()?;
    slices.sort_by(|a, b| a.accuracy.upper.total_cmp(&b.accuracy.upper));
    Ok(slices)
}
