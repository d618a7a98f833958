//! Metrics of a classifier, each with its interval.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, percentile_interval, resample};
use crate::error::StatsError;
use crate::interval::{Interval, wilson};

/// Counts of (true class, predicted class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// `counts[truth][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

/// Metrics of one class against all others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Rows that truly are of this class.
    pub support: u64,
    /// Share of the rows predicted as this class that are of it; absent when none was predicted.
    pub precision: Option<Interval>,
    /// Share of the rows of this class that were found; absent when there are none.
    pub recall: Option<Interval>,
    /// Harmonic mean of the two, 0 when both are; absent when the class neither occurs nor is predicted.
    pub f1: Option<Interval>,
}

/// Metrics of a classifier on one set of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationMetrics {
    /// Rows that were judged.
    pub rows: u64,
    /// Share of right answers, with Wilson's interval.
    pub accuracy: Interval,
    /// Mean over classes that occur or are predicted, with a bootstrap interval; what is undefined
    /// counts as 0 (scikit-learn's definition).
    pub precision_macro: Interval,
    /// The same mean of recalls.
    pub recall_macro: Interval,
    /// The same mean of F1.
    pub f1_macro: Interval,
    /// One entry a class.
    pub classes: Vec<ClassMetrics>,
}

/// The metrics of [`ConfusionMatrix::point_metrics`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub struct PointMetrics {
    pub accuracy: f64,
    pub precision_macro: f64,
    pub recall_macro: f64,
    pub f1_macro: f64,
}

impl ConfusionMatrix {
    /// Counts pairs of (true class, predicted class) of `classes` classes.
    pub fn from_pairs(
        classes: usize,
        pairs: impl IntoIterator<Item = (usize, usize)>,
    ) -> Result<Self, StatsError> {
        let mut counts = vec![vec![0; classes]; classes];
        for (truth, predicted) in pairs {
            for class in [truth, predicted] {
                if class >= classes {
                    return Err(StatsError::UnknownClass { class, classes });
                }
            }
            counts[truth][predicted] += 1;
        }
        Ok(Self { counts })
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Rows on the diagonal.
    pub fn correct(&self) -> u64 {
        (0..self.counts.len()).map(|class| self.counts[class][class]).sum()
    }

    /// Rows that truly are of `class`.
    pub fn support(&self, class: usize) -> u64 {
        self.counts[class].iter().sum()
    }

    /// Rows predicted as `class`.
    pub fn predicted(&self, class: usize) -> u64 {
        self.counts.iter().map(|row| row[class]).sum()
    }

    /// Accuracy, macro precision, macro recall and macro F1 without their intervals, for choosing among
    /// epochs. NaN where there are no rows.
    pub fn point_metrics(&self) -> PointMetrics {
        let flat: Vec<u64> = self.counts.iter().flatten().copied().collect();
        let point = point_estimates(&flat, self.counts.len());
        PointMetrics {
            accuracy: self.correct() as f64 / self.rows() as f64,
            precision_macro: point.precision,
            recall_macro: point.recall,
            f1_macro: point.f1,
        }
    }

    /// All metrics: proportions with Wilson's interval, F1 and the means over classes with a
    /// percentile bootstrap over rows.
    pub fn metrics(&self, settings: &Bootstrap) -> Result<ClassificationMetrics, StatsError> {
        let classes = self.counts.len();
        let rows = self.rows();
        if rows == 0 {
            return Err(StatsError::NoObservations { sample: "the evaluated set" });
        }
        let cells = self.cell_of_each_row();
        let draws = resample(cells.len(), settings, |drawn| {
            let mut counts = vec![0u64; classes * classes];
            drawn.iter().for_each(|&row| counts[cells[row] as usize] += 1);
            point_estimates(&counts, classes)
        })?;
        let flat: Vec<u64> = self.counts.iter().flatten().copied().collect();
        let point = point_estimates(&flat, classes);
        let interval = |pick: &dyn Fn(&PointEstimates) -> f64| {
            let values: Vec<f64> = draws.iter().map(pick).collect();
            percentile_interval(pick(&point), &values, settings.confidence)
        };
        let share = |hits: u64, of: u64| {
            if of == 0 { Ok(None) } else { wilson(hits, of, settings.confidence).map(Some) }
        };
        Ok(ClassificationMetrics {
            rows,
            accuracy: wilson(self.correct(), rows, settings.confidence)?,
            precision_macro: interval(&|estimate| estimate.precision),
            recall_macro: interval(&|estimate| estimate.recall),
            f1_macro: interval(&|estimate| estimate.f1),
            classes: (0..classes)
                .map(|class| {
                    let hits = self.counts[class][class];
                    let seen = self.support(class) + self.predicted(class) > 0;
                    Ok(ClassMetrics {
                        support: self.support(class),
                        precision: share(hits, self.predicted(class))?,
                        recall: share(hits, self.support(class))?,
                        f1: seen.then(|| interval(&|estimate| estimate.class_f1[class])),
                    })
                })
                .collect::<Result<_, StatsError>>()?,
        })
    }

    /// The flat cell index of every row: the rows are exchangeable, so this is all of the sample.
    fn cell_of_each_row(&self) -> Vec<u32> {
        self.counts
            .iter()
            .flatten()
            .enumerate()
            .flat_map(|(cell, &count)| std::iter::repeat_n(cell as u32, count as usize))
            .collect()
    }
}

struct PointEstimates {
    precision: f64,
    recall: f64,
    f1: f64,
    /// NaN where a class neither occurs nor is predicted.
    class_f1: Vec<f64>,
}

fn point_estimates(counts: &[u64], classes: usize) -> PointEstimates {
    let ratio = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
    let mut estimate =
        PointEstimates { precision: 0.0, recall: 0.0, f1: 0.0, class_f1: Vec::with_capacity(classes) };
    let mut occurring = 0.0;
    for class in 0..classes {
        let hits = counts[class * classes + class];
        let support: u64 = counts[class * classes..(class + 1) * classes].iter().sum();
        let predicted: u64 = counts.iter().skip(class).step_by(classes).sum();
        let f1 = ratio(2 * hits, support + predicted);
        estimate.class_f1.push(if support + predicted == 0 { f64::NAN } else { f1 });
        if support + predicted > 0 {
            occurring += 1.0;
            estimate.precision += ratio(hits, predicted);
            estimate.recall += ratio(hits, support);
            estimate.f1 += f1;
        }
    }
    estimate.precision /= occurring;
    estimate.recall /= occurring;
    estimate.f1 /= occurring;
    estimate
}
