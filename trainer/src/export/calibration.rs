//! What activations are like on training rows: from that come the fixed scales of static int8.

use super::{answer_named, session};
use crate::TrainError;
use crate::examples::Example;
use refit_engine::{Engine, Session};
use refit_graph::{Model, onnx};
use refit_passes::edit::{ActivationRange, FixedForm, QuantizeInt8Fixed};
use refit_passes::with_outputs;
use refit_stats::{Histogram, RangeRule};
use std::collections::BTreeMap;

/// Bins between the largest magnitudes of an activation.
const BINS: usize = 2048;
/// Values of a channel as large as this many times the median channel's are outliers.
const OUTLIER: f32 = 6.0;

/// Every activation that static int8 quantizes, as it was on the rows.
#[derive(Debug, Clone)]
pub struct Activations {
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    histogram: Histogram,
    /// The largest magnitude of each channel of the last axis.
    channels: Vec<f32>,
}

impl Activations {
    /// Runs the lowered `model` over `rows`, twice: for the ends of each activation that `form` quantizes, and for what
    /// lies between them.
    ///
    /// # Errors
    /// When the engine fails, or there is nothing to quantize.
    pub fn of(
        model: &Model,
        form: FixedForm,
        engine: &dyn Engine,
        rows: &[Example],
    ) -> Result<Self, TrainError> {
        let names = QuantizeInt8Fixed::activations(model, form)?;
        let bytes = onnx::write(&with_outputs(model, &names)?)?;
        let mut session = session(engine, &bytes)?;
        let mut channels: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        run(session.as_mut(), &names, rows, &mut |name, width, values| {
            let largest = channels.entry(name.to_owned()).or_insert_with(|| vec![0.0; width]);
            for row in values.chunks(width.max(1)) {
                for (largest, value) in largest.iter_mut().zip(row) {
                    *largest = largest.max(value.abs());
                }
            }
        })?;
        let mut seen = BTreeMap::new();
        for (name, channels) in channels {
            let limit = channels.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(*value));
            let histogram = Histogram::new(BINS, f64::from(limit))?;
            seen.insert(name, Seen { histogram, channels });
        }
        run(session.as_mut(), &names, rows, &mut |name, _, values| {
            if let Some(seen) = seen.get_mut(name) {
                seen.histogram.add(values);
            }
        })?;
        Ok(Self { seen })
    }

    /// The range of every activation by one rule.
    ///
    /// # Errors
    /// When an activation was never seen.
    pub fn ranges(&self, rule: RangeRule) -> Result<BTreeMap<String, ActivationRange>, TrainError> {
        let range = |(name, seen): (&String, &Seen)| {
            let (low, high) = seen.histogram.range(rule)?;
            Ok((name.clone(), ActivationRange { low: low as f32, high: high as f32 }))
        };
        self.seen.iter().map(range).collect()
    }

    /// The largest magnitude of each channel of the activations that have outliers.
    pub fn outliers(&self) -> BTreeMap<String, Vec<f32>> {
        let has = self.seen.iter().filter(|(_, seen)| has_outliers(&seen.channels));
        has.map(|(name, seen)| (name.clone(), seen.channels.clone())).collect()
    }
}

fn has_outliers(channels: &[f32]) -> bool {
    let mut sorted = channels.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(median), Some(largest)) => *largest > OUTLIER * median,
        _ => false,
    }
}

/// Is given the name of an activation, the size of its last axis, and its values.
type Shown<'a> = dyn FnMut(&str, usize, &[f32]) + 'a;

/// Shows every activation of every row, and the size of its last axis.
fn run(
    session: &mut dyn Session,
    names: &[String],
    rows: &[Example],
    show: &mut Shown<'_>,
) -> Result<(), TrainError> {
    for text in rows.iter().flat_map(|row| &row.texts) {
        for (name, tensor) in answer_named(session, &text.encoding)? {
            if let Some(values) = tensor.as_f32().filter(|_| names.contains(&name)) {
                show(&name, tensor.shape().last().copied().unwrap_or(1), values);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_far_above_the_others_is_an_outlier() {
        assert!(has_outliers(&[1.0, 1.2, 0.8, 9.0]));
        assert!(!has_outliers(&[1.0, 1.2, 0.8, 3.0]));
        assert!(!has_outliers(&[]));
    }
}
