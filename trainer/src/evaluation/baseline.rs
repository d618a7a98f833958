//! The answer that costs nothing.

use refit_stats::{Bootstrap, ConfusionMatrix, Interval, StatsError};
use serde::{Deserialize, Serialize};

/// Metrics of always answering the class that is commonest among the evaluated rows: the strongest
/// constant answer, so beating it is not an accident of the split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MajorityBaseline {
    /// The commonest class.
    pub label: String,
    /// Its share.
    pub accuracy: Interval,
    /// Macro F1 of the constant answer.
    pub f1_macro: Interval,
}

impl MajorityBaseline {
    pub(super) fn of(
        labels: &[String],
        confusion: &ConfusionMatrix,
        settings: &Bootstrap,
    ) -> Result<Self, StatsError> {
        let supports: Vec<u64> = (0..labels.len()).map(|class| confusion.support(class)).collect();
        let greatest = supports.iter().copied().max().unwrap_or(0);
        let majority = supports.iter().position(|&support| support == greatest).unwrap_or(0);
        let constant = supports
            .iter()
            .map(|&support| {
                (0..labels.len()).map(|class| if class == majority { support } else { 0 }).collect()
            })
            .collect();
        let metrics = ConfusionMatrix { counts: constant }.metrics(settings)?;
        Ok(Self { label: labels[majority].clone(), accuracy: metrics.accuracy, f1_macro: metrics.f1_macro })
    }
}
