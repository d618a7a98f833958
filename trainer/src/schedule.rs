//! The learning rate over a run: linear warm-up, then constant, linear or cosine decay to zero.

use refit_spec::Schedule;

/// Learning rate as a function of the optimizer step.
#[derive(Debug, Clone)]
pub struct LearningRate {
    /// The highest rate, reached at the end of the warm-up.
    pub peak: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// What follows the warm-up.
    pub decay: Schedule,
}

impl LearningRate {
    /// The rate of step `step`, counted from zero. The first step of a warm-up is above zero.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let decay_steps = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / decay_steps as f64).min(1.0);
        match self.decay {
            Schedule::Constant => self.peak,
            Schedule::Linear => self.peak * (1.0 - progress),
            Schedule::Cosine => self.peak * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(decay: Schedule, expect: [f64; 5]) {
        let rate = LearningRate { peak: 1.0, warmup_steps: 2, total_steps: 10, decay };
        for (step, expected) in [0, 1, 2, 6, 10].into_iter().zip(expect) {
            assert!((rate.at(step) - expected).abs() < 1e-12, "step {step}: {}", rate.at(step));
        }
    }

    #[test]
    fn warms_up_and_decays() {
        check(Schedule::Constant, [0.5, 1.0, 1.0, 1.0, 1.0]);
        check(Schedule::Linear, [0.5, 1.0, 1.0, 0.5, 0.0]);
        check(Schedule::Cosine, [0.5, 1.0, 1.0, 0.5, 0.0]);
    }

    #[test]
    fn without_warmup_the_first_step_has_the_peak() {
        let rate = LearningRate { peak: 2e-5, warmup_steps: 0, total_steps: 4, decay: Schedule::Linear };
        assert_eq!(rate.at(0), 2e-5);
    }
}
