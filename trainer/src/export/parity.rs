//! trained = merged = exported float32, the head included, on held-out rows.

use super::{Forms, WrittenForm, measure};
use crate::TrainError;
use crate::examples::{Example, collate, separate};
use candle_core::Device;
use refit_artifact::ParityCheck;
use refit_autodiff::{Mode, Program};
use refit_engine::Engine;
use refit_graph::Model;

/// Rows without which nothing is shown.
const MIN_PARITY_ROWS: usize = 64;

/// Largest difference of a logit between forms that compute in float32.
const TOLERANCE: f64 = 1e-4;

/// What was compared.
#[derive(Debug, Clone)]
pub struct Parity {
    /// Every comparison; all of them within their tolerance.
    pub checks: Vec<ParityCheck>,
    /// What the trained graph answers to the rows.
    trained: Vec<Vec<f32>>,
}

impl Parity {
    /// The largest difference that was judged.
    pub fn max_abs(&self) -> f64 {
        self.checks
            .iter()
            .filter(|check| check.tolerance.is_some())
            .map(|check| check.max_abs)
            .fold(0.0, f64::max)
    }

    /// Adds how far the files beside float32 are from the trained graph on the same `rows`: reported, not judged,
    /// since what they may lose is accuracy.
    ///
    /// # Errors
    /// When an engine fails.
    pub fn report(
        &mut self,
        written: &[WrittenForm],
        name: &str,
        rows: &[Example],
        engines: &[&dyn Engine],
    ) -> Result<(), TrainError> {
        for form in written {
            for engine in engines.iter().filter(|engine| form.is_for(engine.name())) {
                let answers = measure::answers(*engine, &form.model, name, rows)?;
                let actual = format!("{} in {}", form.precision, engine.name());
                let check = compare("trained", &self.trained, &actual, &answers);
                self.checks.push(ParityCheck { tolerance: None, ..check });
            }
        }
        Ok(())
    }
}

/// Compares the output `name` of all forms of a model in float32 on `rows`, in every engine that is there.
///
/// # Errors
/// When there are too few rows, or a form answers differently: nothing may be registered then.
pub fn check(
    forms: &Forms,
    name: &str,
    rows: &[Example],
    pad_id: i64,
    engines: &[&dyn Engine],
) -> Result<Parity, TrainError> {
    if rows.len() < MIN_PARITY_ROWS {
        return Err(TrainError::TooFewRows { rows: rows.len(), needed: MIN_PARITY_ROWS });
    }
    let trained = by_graph(&forms.trained, name, rows, pad_id)?;
    let mut checks =
        vec![compare("trained", &trained, "merged", &by_graph(&forms.merged, name, rows, pad_id)?)];
    for engine in engines {
        let float32 = measure::answers(*engine, &forms.float32, name, rows)?;
        checks.push(compare("trained", &trained, &format!("float32 in {}", engine.name()), &float32));
    }
    for check in &checks {
        if let Some(tolerance) =
            check.tolerance.filter(|tolerance| check.max_abs.is_nan() || check.max_abs > *tolerance)
        {
            return Err(TrainError::Parity {
                expected: check.expected.clone(),
                actual: check.actual.clone(),
                rows: check.rows,
                max_abs: check.max_abs,
                tolerance,
            });
        }
    }
    Ok(Parity { checks, trained })
}

fn by_graph(model: &Model, name: &str, rows: &[Example], pad_id: i64) -> Result<Vec<Vec<f32>>, TrainError> {
    let program = Program::compile(model, &[name], &Device::Cpu)?;
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows {
        let inputs = collate(&[row], &[], pad_id, &program)?;
        answers.extend(separate(&[row], program.forward(&inputs, Mode::Eval)?.output(name)?)?);
    }
    Ok(answers)
}

fn compare(expected: &str, left: &[Vec<f32>], actual: &str, right: &[Vec<f32>]) -> ParityCheck {
    let differences =
        left.iter().flatten().zip(right.iter().flatten()).map(|(a, b)| f64::from((a - b).abs()));
    // NaN must not pass: `f64::max` would swallow it.
    let max_abs = differences.fold(0.0, |max: f64, d| if d.is_nan() || d > max { d } else { max });
    let alike = left.iter().map(Vec::len).eq(right.iter().map(Vec::len));
    let max_abs = if alike { max_abs } else { f64::INFINITY };
    ParityCheck {
        expected: expected.to_owned(),
        actual: actual.to_owned(),
        rows: left.len(),
        max_abs,
        tolerance: Some(TOLERANCE),
    }
}
