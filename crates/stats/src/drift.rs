//! How far observed counts lie from a reference, and whether that is more than chance.

use serde::{Deserialize, Serialize};

use crate::distribution::chi_square_upper_tail;
use crate::error::{StatsError, check_open_unit};
use crate::multiple::benjamini_hochberg;

/// What the population stability index says, corrected for the sample sizes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PsiTest {
    /// The index itself, half a count added to each bin.
    pub psi: f64,
    /// The index less what chance alone gives it, (bins - 1)(1/n + 1/m): the effect's size.
    pub excess: f64,
    /// PSI x nm/(n + m): chi-square with `degrees` degrees of freedom when nothing has drifted.
    pub statistic: f64,
    /// Bins that anything fell into, less one.
    pub degrees: usize,
    /// Probability of a statistic this large when nothing has drifted.
    pub p_value: f64,
    /// Observations in the reference (n).
    pub reference_total: u64,
    /// Observations in the window (m).
    pub observed_total: u64,
}

/// Chi-square test of homogeneity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChiSquareTest {
    /// Pearson's statistic.
    pub statistic: f64,
    /// Bins that anything fell into, less one.
    pub degrees: usize,
    /// Upper tail.
    pub p_value: f64,
}

/// When a window counts as drifted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DriftPolicy {
    /// Probability of an alarm in a window in which no feature has drifted.
    pub alpha: f64,
    /// Least effect ([`PsiTest::excess`]) worth an alarm, however sure it is.
    pub floor: f64,
    /// Fewer observations than this are no ground for any verdict.
    pub min_observations: u64,
}

impl Default for DriftPolicy {
    /// 0.1 is the customary PSI of a small shift.
    fn default() -> Self {
        Self { alpha: 0.001, floor: 0.1, min_observations: 50 }
    }
}

/// Reference and window counts of one feature, in the same bins.
#[derive(Debug, Clone, Copy)]
pub struct FeatureCounts<'a> {
    /// The feature's name.
    pub feature: &'a str,
    /// Counts at training time.
    pub reference: &'a [u64],
    /// Counts in the window.
    pub observed: &'a [u64],
}

/// What a window says about a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftVerdict {
    /// Too few observations to say anything: a state of its own, not "stable".
    TooFew,
    /// No drift shown.
    Stable,
    /// Significant after the correction for the number of features, and large enough to matter.
    Drifted,
}

/// One feature of a judged window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureDrift {
    /// The feature's name.
    pub feature: String,
    /// The verdict.
    pub verdict: DriftVerdict,
    /// The test, absent when the window holds no observations of this feature.
    pub test: Option<PsiTest>,
    /// p-value after Benjamini and Hochberg over the window's features.
    pub adjusted_p_value: Option<f64>,
}

/// Judges all features of one window together.
pub fn judge_drift(
    features: &[FeatureCounts<'_>],
    policy: &DriftPolicy,
) -> Result<Vec<FeatureDrift>, StatsError> {
    check_open_unit("alpha", policy.alpha)?;
    let tests = features
        .iter()
        .map(|counts| {
            if counts.observed.iter().sum::<u64>() == 0 && counts.observed.len() == counts.reference.len() {
                return Ok(None);
            }
            psi_test(counts.reference, counts.observed).map(Some)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let enough = |test: &PsiTest| test.observed_total >= policy.min_observations;
    let judged: Vec<f64> =
        tests.iter().flatten().filter(|test| enough(test)).map(|test| test.p_value).collect();
    let mut adjusted = benjamini_hochberg(&judged).into_iter();
    Ok(features
        .iter()
        .zip(tests)
        .map(|(counts, test)| {
            let adjusted_p_value = test.filter(&enough).and_then(|_| adjusted.next());
            let verdict = match (&test, adjusted_p_value) {
                (Some(test), Some(p)) if p <= policy.alpha && test.excess > policy.floor => {
                    DriftVerdict::Drifted
                }
                (Some(_), Some(_)) => DriftVerdict::Stable,
                _ => DriftVerdict::TooFew,
            };
            FeatureDrift { feature: counts.feature.to_owned(), verdict, test, adjusted_p_value }
        })
        .collect())
}

/// Population stability index, the sum over bins of (a - b) ln(a / b), half a count added to each
/// bin so that empty ones stay finite. Bins that are empty in both are left out.
pub fn psi(reference: &[u64], observed: &[u64]) -> Result<f64, StatsError> {
    let pairs = occupied(reference, observed)?;
    let half = pairs.len() as f64 / 2.0;
    let total = |side: fn(&(f64, f64)) -> f64| pairs.iter().map(side).sum::<f64>() + half;
    let (n, m) = (total(|pair| pair.0), total(|pair| pair.1));
    Ok(pairs
        .iter()
        .map(|(x, y)| {
            let (a, b) = ((x + 0.5) / n, (y + 0.5) / m);
            (a - b) * (a / b).ln()
        })
        .sum())
}

/// The index with the p-value that its sample sizes give it: under no drift PSI x nm/(n + m) is
/// asymptotically chi-square with bins - 1 degrees of freedom (Yurdakul 2018). With half a count
/// added it stays at or slightly below its level even with bins that expect less than one
/// observation (`tests/false_alarms.rs`).
pub fn psi_test(reference: &[u64], observed: &[u64]) -> Result<PsiTest, StatsError> {
    let psi = psi(reference, observed)?;
    let (reference_total, observed_total) = (reference.iter().sum::<u64>(), observed.iter().sum::<u64>());
    let (n, m) = (reference_total as f64, observed_total as f64);
    let degrees = occupied(reference, observed)?.len() - 1;
    let statistic = psi * n * m / (n + m);
    Ok(PsiTest {
        psi,
        excess: psi - degrees as f64 * (1.0 / n + 1.0 / m),
        statistic,
        degrees,
        p_value: chi_square_upper_tail(statistic, degrees),
        reference_total,
        observed_total,
    })
}

impl PsiTest {
    /// Whether one feature, looked at alone, has drifted: significant at `alpha` and with an effect
    /// above `floor`. For several features use [`judge_drift`].
    pub fn drifted(&self, alpha: f64, floor: f64) -> bool {
        self.p_value < alpha && self.excess > floor
    }
}

/// Jensen-Shannon divergence in bits, 0 (equal) to 1 (nothing in common), of the raw frequencies.
/// scipy's `jensenshannon` is its square root.
pub fn js_divergence(reference: &[u64], observed: &[u64]) -> Result<f64, StatsError> {
    let pairs = occupied(reference, observed)?;
    let (n, m) = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    let term = |a: f64, middle: f64| if a > 0.0 { a * (a / middle).log2() } else { 0.0 };
    let sum: f64 = pairs
        .iter()
        .map(|(x, y)| {
            let (a, b) = (x / n, y / m);
            let middle = 0.5 * (a + b);
            0.5 * (term(a, middle) + term(b, middle))
        })
        .sum();
    Ok(sum.clamp(0.0, 1.0))
}

/// Pearson's chi-square test that both samples come from one distribution.
pub fn chi_square_test(reference: &[u64], observed: &[u64]) -> Result<ChiSquareTest, StatsError> {
    let pairs = occupied(reference, observed)?;
    let (n, m) = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    let statistic = pairs
        .iter()
        .map(|(x, y)| {
            let share = (x + y) / (n + m);
            (x - share * n).powi(2) / (share * n) + (y - share * m).powi(2) / (share * m)
        })
        .sum();
    let degrees = pairs.len() - 1;
    Ok(ChiSquareTest { statistic, degrees, p_value: chi_square_upper_tail(statistic, degrees) })
}

/// Pairs of counts of the bins that anything fell into; both sides hold something.
fn occupied(reference: &[u64], observed: &[u64]) -> Result<Vec<(f64, f64)>, StatsError> {
    if reference.len() != observed.len() {
        return Err(StatsError::BinsDiffer { reference: reference.len(), observed: observed.len() });
    }
    for (sample, counts) in [("the reference", reference), ("the observed window", observed)] {
        if counts.iter().all(|&count| count == 0) {
            return Err(StatsError::NoObservations { sample });
        }
    }
    Ok(reference
        .iter()
        .zip(observed)
        .filter(|(x, y)| **x + **y > 0)
        .map(|(&x, &y)| (x as f64, y as f64))
        .collect())
}
