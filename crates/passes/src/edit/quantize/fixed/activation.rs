use refit_graph::{HostTensor, Patch, ValueId};

/// The values that an activation takes, or is clipped to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActivationRange {
    /// Lower end.
    pub low: f32,
    /// Upper end.
    pub high: f32,
}

/// The steps of a u8: value = scale * (u8 - zero).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Steps {
    pub(super) scale: f32,
    pub(super) zero: u8,
}

/// A range of nothing but zeros must not divide by zero.
const SMALLEST_SCALE: f32 = 1e-12;

impl Steps {
    /// 255 steps over a range, widened to hold 0, which padding and ReLU make and which has to be exact.
    pub(super) fn of(range: ActivationRange) -> Self {
        let (low, high) = (range.low.min(0.0), range.high.max(0.0));
        let scale = ((high - low) / 255.0).max(SMALLEST_SCALE);
        Self { scale, zero: (-low / scale).round().clamp(0.0, 255.0) as u8 }
    }

    /// Scale and zero point as constants of the graph.
    pub(super) fn constants(self, patch: &mut Patch, name: &str) -> (ValueId, ValueId) {
        let scale = HostTensor::from_f32(&[], &[self.scale]);
        let zero = HostTensor::from_u8(&[], &[self.zero]);
        (
            patch.initializer(&format!("{name}.scale"), scale, false),
            patch.initializer(&format!("{name}.zero"), zero, false),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_a_step_of_every_range() {
        for (low, high) in [(-1.0, 1.0), (0.0, 6.0), (2.0, 3.0), (-3.0, -2.0), (-0.3, 700.0)] {
            let steps = Steps::of(ActivationRange { low, high });
            let value = |step: f32| steps.scale * (step - f32::from(steps.zero));
            assert_eq!(value(f32::from(steps.zero)), 0.0);
            let (low, high) = (f32::min(low, 0.0), f32::max(high, 0.0));
            assert!((value(0.0) - low).abs() <= 0.51 * steps.scale, "{low} to {high}: {steps:?}");
            assert!((value(255.0) - high).abs() <= 0.51 * steps.scale, "{low} to {high}: {steps:?}");
        }
        assert_eq!(
            Steps::of(ActivationRange { low: 0.0, high: 0.0 }),
            Steps { scale: SMALLEST_SCALE, zero: 0 }
        );
    }
}
