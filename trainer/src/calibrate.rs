//! Confidences that come true: a temperature, fitted on validation rows and shipped with the model.

use crate::TrainError;
use crate::data::{Labels, Row};
use crate::evaluation::{Evaluation, Scored, TemperatureScaling};
use refit_predictor::Prediction;
use refit_stats::{Temperature, fit_temperature};

/// The temperature of these answers to rows with a known label; `None` when the rows do not say, as when all of
/// them are answered rightly.
///
/// # Errors
/// When an answer is not finite.
pub fn fit(labels: &Labels, rows: &[Row], answers: &[Prediction]) -> Result<Option<Temperature>, TrainError> {
    let (logits, truth): (Vec<Vec<f32>>, Vec<usize>) = rows
        .iter()
        .zip(answers)
        .filter_map(|(row, answer)| Some((answer.logits.clone(), labels.index(&row.label)?)))
        .unzip();
    if logits.is_empty() {
        return Ok(None);
    }
    Ok(fit_temperature(&logits, &truth)?)
}

/// Says in `evaluation` what the temperature did to the answers to these rows.
///
/// # Errors
/// When the rows cannot be evaluated.
pub fn explain(
    evaluation: &mut Evaluation,
    fitted: Temperature,
    labels: &Labels,
    rows: &[Row],
    answers: &[Prediction],
) -> Result<(), TrainError> {
    let before: Vec<Scored> = rows
        .iter()
        .zip(answers)
        .filter_map(|(row, answer)| {
            let probabilities = answer.clone().at_temperature(1.0).answer.probabilities().to_vec();
            Some(Scored { truth: labels.index(&row.label)?, probabilities, slices: Vec::new() })
        })
        .collect();
    evaluation.temperature = Some(TemperatureScaling::of(fitted, labels.names(), &before)?);
    Ok(())
}
