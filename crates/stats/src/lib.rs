//! The numbers behind every decision: how far data has drifted, how sure a metric is, whether a
//! model has degraded, and whether a challenger is no worse than the champion.
//!
//! Every measure comes with its uncertainty, every alarm with a bound on its false alarms, and an
//! empty sample is an error ([`StatsError::NoObservations`]), never "fine". What draws random
//! numbers takes a seed and gives the same answer on every machine.
//!
//! Pure functions and plain values: this crate knows nothing of files, clocks, networks or models.

mod answers;
mod bootstrap;
mod calibration;
mod classification;
mod clipping;
mod distribution;
mod drift;
mod entities;
mod error;
mod interval;
mod multi_label;
mod multiple;
mod paired;
mod projection;
mod proportions;
mod reference;
mod regression;
mod resampled;
mod retrieval;
mod sampler;
mod sequential;
pub mod similarity;
mod temperature;

pub use answers::{answer_f1, exact_match, normalize_answer};
pub use bootstrap::{Bootstrap, basic_interval, percentile_interval, resample};
pub use calibration::{Calibration, ReliabilityBin, calibration};
pub use classification::{ClassMetrics, ClassificationMetrics, ConfusionMatrix, PointMetrics};
pub use clipping::{Histogram, RangeRule};
pub use drift::{
    ChiSquareTest, DriftPolicy, DriftVerdict, FeatureCounts, FeatureDrift, PsiTest, chi_square_test,
    js_divergence, judge_drift, psi, psi_test,
};
pub use entities::{EntityCounts, EntitySpan, entities, entity_counts};
pub use error::StatsError;
pub use interval::{Interval, clopper_pearson, clopper_pearson_upper, wilson};
pub use multi_label::{LabelCounts, average_precision, f1_macro, f1_micro, label_counts};
pub use multiple::benjamini_hochberg;
pub use paired::{NonInferiority, PairedCounts, mcnemar_exact, non_inferiority};
pub use projection::{project, projection_directions};
pub use proportions::fisher_exact_greater;
pub use reference::{FeatureKind, ReferenceDistribution};
pub use regression::{mean_absolute_error, pearson, r2, root_mean_squared_error, spearman};
pub use resampled::corrected_mean;
pub use retrieval::{mean_reciprocal_rank, rank, recall_at};
pub use sequential::{Baseline, DegradationBudget, EProcess};
pub use temperature::{Temperature, fit_temperature};
