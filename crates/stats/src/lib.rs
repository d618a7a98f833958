//! The numbers behind every decision: how far data has drifted, how sure a metric is, whether a
//! model has degraded, and whether a challenger is no worse than the champion.
//!
//! Every measure comes with its uncertainty, every alarm with a bound on its false alarms, and an
//! empty sample is an error ([`StatsError::NoObservations`]), never "fine". What draws random
//! numbers takes a seed and gives the same answer on every machine.
//!
//! Pure functions and plain values: this crate knows nothing of files, clocks, networks or models.

mod bootstrap;
mod calibration;
mod classification;
mod distribution;
mod drift;
mod error;
mod interval;
mod multiple;
mod paired;
mod projection;
mod proportions;
mod reference;
mod sampler;
mod sequential;

pub use bootstrap::{Bootstrap, basic_interval, percentile_interval, resample};
pub use calibration::{Calibration, ReliabilityBin, calibration};
pub use classification::{ClassMetrics, ClassificationMetrics, ConfusionMatrix, PointMetrics};
pub use drift::{
    ChiSquareTest, DriftPolicy, DriftVerdict, FeatureCounts, FeatureDrift, PsiTest, chi_square_test,
    js_divergence, judge_drift, psi, psi_test,
};
pub use error::StatsError;
pub use interval::{Interval, clopper_pearson, clopper_pearson_upper, wilson};
pub use multiple::benjamini_hochberg;
pub use paired::{NonInferiority, PairedCounts, mcnemar_exact, non_inferiority};
pub use projection::{project, projection_directions};
pub use proportions::fisher_exact_greater;
pub use reference::{FeatureKind, ReferenceDistribution};
pub use sequential::{Baseline, DegradationBudget, EProcess};
