//! The range of values that a fixed-point number is given: what lies outside is clipped, and a narrower range has
//! finer steps.
//!
//! [`Histogram::range`] follows ONNX Runtime's calibrators (`onnxruntime.quantization.calibrate`), which in turn follow
//! TensorRT (Migacz 2017, "8-bit inference with TensorRT"); a test compares them.

use crate::StatsError;

/// Steps into which the reference of [`RangeRule::Entropy`] divides a range.
const ENTROPY_STEPS: usize = 128;
/// Share of probability that an empty bin is given, as ONNX Runtime does.
const SMOOTHING: f64 = 1e-4;
/// Ranges that [`RangeRule::Mse`] tries: 1 %, 2 %, ... of the whole.
const MSE_RANGES: usize = 100;
/// Steps between the ends of eight bits.
const STEPS: f64 = 255.0;

/// How a range is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RangeRule {
    /// From the least to the greatest value.
    MinMax,
    /// Leaves out the ends, so that this share of the values, above 0 and up to 1, is inside.
    Percentile(f64),
    /// The range whose 128 steps keep most of the distribution, by relative entropy (Kullback-Leibler).
    Entropy,
    /// The range that minimises the squared error of eight bits, clipping included.
    Mse,
}

/// Values counted into bins of equal width between `-limit` and `limit`.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    counts: Vec<u64>,
    limit: f64,
    least: f64,
    greatest: f64,
}

impl Histogram {
    /// An empty one; values of a magnitude above `limit` count into the outermost bins.
    ///
    /// # Errors
    /// When there is not an even number of bins of 128 or more, or the limit is no number above 0.
    pub fn new(bins: usize, limit: f64) -> Result<Self, StatsError> {
        if bins < ENTROPY_STEPS || !bins.is_multiple_of(2) {
            let (value, expected) = (bins as f64, "an even number of at least 128");
            return Err(StatsError::OutOfRange { name: "bins", value, expected });
        }
        if !(limit.is_finite() && limit > 0.0) {
            return Err(StatsError::OutOfRange { name: "limit", value: limit, expected: "above 0" });
        }
        Ok(Self { counts: vec![0; bins], limit, least: f64::INFINITY, greatest: f64::NEG_INFINITY })
    }

    /// Counts values; those that are no numbers are left out.
    pub fn add(&mut self, values: &[f32]) {
        let bins = self.counts.len();
        for value in values.iter().map(|value| f64::from(*value)).filter(|value| value.is_finite()) {
            let place = (value + self.limit) / (2.0 * self.limit) * bins as f64;
            self.counts[(place.max(0.0) as usize).min(bins - 1)] += 1;
            self.least = self.least.min(value);
            self.greatest = self.greatest.max(value);
        }
    }

    /// The ends of the range that `rule` chooses, within what was seen.
    ///
    /// # Errors
    /// When nothing was counted, or the rule's share is none.
    pub fn range(&self, rule: RangeRule) -> Result<(f64, f64), StatsError> {
        if self.least > self.greatest {
            return Err(StatsError::NoObservations { sample: "the histogram" });
        }
        let (low, high) = match rule {
            RangeRule::MinMax => (self.least, self.greatest),
            RangeRule::Percentile(share) => self.percentile(share)?,
            RangeRule::Entropy => self.entropy(),
            RangeRule::Mse => self.least_squares(),
        };
        Ok((low.max(self.least), high.min(self.greatest)))
    }

    fn total(&self) -> f64 {
        self.counts.iter().sum::<u64>() as f64
    }

    fn edge(&self, bin: usize) -> f64 {
        self.limit * (2.0 * bin as f64 / self.counts.len() as f64 - 1.0)
    }

    /// Lower edges of the bins in which the cumulative share reaches half of what is left out, and all but that.
    fn percentile(&self, share: f64) -> Result<(f64, f64), StatsError> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(StatsError::OutOfRange {
                name: "share",
                value: share,
                expected: "above 0 and up to 1",
            });
        }
        let cut = (1.0 - share) / 2.0;
        let total = self.total();
        let reaches = |wanted: f64| {
            let mut sum = 0.0;
            let bin = self.counts.iter().position(|count| {
                sum += *count as f64 / total;
                sum >= wanted
            });
            self.edge(bin.unwrap_or(self.counts.len()))
        };
        Ok((reaches(cut), reaches(1.0 - cut)))
    }

    fn entropy(&self) -> (f64, f64) {
        let (bins, zero) = (self.counts.len(), self.counts.len() / 2);
        let mut best = (f64::INFINITY, (self.least, self.greatest));
        for half in ENTROPY_STEPS / 2..=zero {
            let (start, end) = (zero - half, (zero + half + 1).min(bins));
            let divergence = self.divergence(start, end);
            if divergence < best.0 {
                best = (divergence, (self.edge(start), self.edge(end)));
            }
        }
        best.1
    }

    /// Relative entropy of the values, those outside clipped, against what 128 steps between two bins make of them.
    fn divergence(&self, start: usize, end: usize) -> f64 {
        let inside = &self.counts[start..end];
        let mut clipped = inside.to_vec();
        let last = clipped.len() - 1;
        clipped[0] += self.counts[..start].iter().sum::<u64>();
        clipped[last] += self.counts[end..].iter().sum::<u64>();
        let width = inside.len() / ENTROPY_STEPS;
        let mut coarse = vec![0u64; inside.len()];
        for step in 0..ENTROPY_STEPS {
            let bins = step * width..(step + 1) * width;
            let mut sum: u64 = inside[bins.clone()].iter().sum();
            if step + 1 == ENTROPY_STEPS {
                sum += inside[bins.end..].iter().sum::<u64>();
            }
            let occupied = clipped[bins.clone()].iter().filter(|count| **count > 0).count() as u64;
            if let Some(share) = sum.checked_div(occupied) {
                coarse[bins].fill(share);
            }
        }
        match (smoothed(&clipped), smoothed(&coarse)) {
            (Some(p), Some(q)) => relative_entropy(&p, &q),
            _ => f64::INFINITY,
        }
    }

    fn least_squares(&self) -> (f64, f64) {
        // A range for integers holds 0, which must have a step of its own.
        let (least, greatest) = (self.least.min(0.0), self.greatest.max(0.0));
        let mut best = (f64::INFINITY, (least, greatest));
        for part in (1..=MSE_RANGES).rev() {
            let share = part as f64 / MSE_RANGES as f64;
            let (low, high) = (least * share, greatest * share);
            let error = self.squared_error(low, high);
            if error < best.0 {
                best = (error, (low, high));
            }
        }
        best.1
    }

    /// The sum of squared errors of eight bits from `low` to `high`, each value at the middle of its bin.
    fn squared_error(&self, low: f64, high: f64) -> f64 {
        let step = (high - low) / STEPS;
        let middle = self.limit / self.counts.len() as f64;
        let errors = self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bin, count)| {
            let value = self.edge(bin) + middle;
            let rounded = ((value.clamp(low, high) - low) / step).round() * step + low;
            *count as f64 * (value - rounded).powi(2)
        });
        errors.sum()
    }
}

/// Counts whose empty bins have got a little of the others; `None` when all are empty, or too many.
fn smoothed(counts: &[u64]) -> Option<Vec<f64>> {
    let empty = counts.iter().filter(|count| **count == 0).count() as f64;
    let occupied = counts.len() as f64 - empty;
    let taken = SMOOTHING * empty / occupied;
    (occupied > 0.0 && taken < 1.0).then(|| {
        counts.iter().map(|count| if *count == 0 { SMOOTHING } else { *count as f64 - taken }).collect()
    })
}

fn relative_entropy(p: &[f64], q: &[f64]) -> f64 {
    let (of_p, of_q): (f64, f64) = (p.iter().sum(), q.iter().sum());
    p.iter().zip(q).map(|(p, q)| p / of_p * ((p / of_p) / (q / of_q)).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_range() {
        let mut histogram = Histogram::new(128, 1.0).unwrap();
        assert!(histogram.range(RangeRule::MinMax).is_err());
        histogram.add(&[f32::NAN, f32::INFINITY]);
        assert!(histogram.range(RangeRule::Entropy).is_err());
        histogram.add(&[0.5]);
        assert!(histogram.range(RangeRule::Percentile(0.0)).is_err());
        assert!(Histogram::new(127, 1.0).is_err() && Histogram::new(128, 0.0).is_err());
    }

    #[test]
    fn one_value_is_its_own_range() {
        for rule in [RangeRule::MinMax, RangeRule::Percentile(0.999), RangeRule::Entropy, RangeRule::Mse] {
            let mut histogram = Histogram::new(256, 2.0).unwrap();
            histogram.add(&[1.0; 100]);
            let (low, high) = histogram.range(rule).unwrap();
            assert!(low <= 1.0 && high <= 1.0 && high > 0.9, "{rule:?}: {low} to {high}");
        }
    }

    #[test]
    fn an_outlier_is_clipped_by_all_but_min_and_max() {
        let mut values: Vec<f32> = (0..20_000).map(|i| (i as f32 / 10_000.0 - 1.0).powi(3)).collect();
        values.push(50.0);
        let mut histogram = Histogram::new(2048, 50.0).unwrap();
        histogram.add(&values);
        assert_eq!(histogram.range(RangeRule::MinMax).unwrap().1, 50.0);
        for rule in [RangeRule::Percentile(0.999), RangeRule::Entropy] {
            let high = histogram.range(rule).unwrap().1;
            assert!(high < 10.0, "{rule:?}: {high}");
        }
    }
}
