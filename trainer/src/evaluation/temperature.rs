//! What a fitted temperature did to stated confidences.

use super::{RELIABILITY_BINS, Scored, check, log_loss};
use crate::evaluation::EvaluationError;
use refit_stats::{Bootstrap, Calibration, Temperature, calibration};
use serde::{Deserialize, Serialize};

/// A temperature, fitted on validation rows, and how the evaluated rows were without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemperatureScaling {
    /// The temperature and what it did on the rows that it was fitted on.
    pub fitted: Temperature,
    /// Calibration of the evaluated rows at temperature 1.
    pub before: Calibration,
    /// Their mean of -ln(probability of the true class) at temperature 1.
    pub log_loss_before: f64,
}

impl TemperatureScaling {
    /// `before` are the evaluated rows with their probabilities at temperature 1.
    ///
    /// # Errors
    /// When there are no rows.
    pub fn of(fitted: Temperature, labels: &[String], before: &[Scored]) -> Result<Self, EvaluationError> {
        check(labels, before)?;
        let confidences: Vec<f64> = before.iter().map(|row| row.confidence().min(1.0)).collect();
        let correct: Vec<bool> = before.iter().map(Scored::is_correct).collect();
        Ok(Self {
            fitted,
            before: calibration(&confidences, &correct, RELIABILITY_BINS, &Bootstrap::default())?,
            log_loss_before: log_loss(before),
        })
    }
}
