use refit_artifact::{Golden, Precision};

use crate::{Choice, Input, PredictorError, worker::Worker};

/// The largest difference of a logit in float32, whatever the engine: engines add in different orders.
pub const FLOAT32_TOLERANCE: f32 = 1e-4;

/// The largest difference of a logit in int8 in the engine that computed the stored one.
pub const INT8_TOLERANCE: f32 = 1e-2;

/// The largest difference of a logit in int8 in another engine: a value that lies between two steps of the
/// quantization may be rounded the other way.
pub const INT8_OTHER_ENGINE_TOLERANCE: f32 = 1e-1;

/// How far the replayed answers were from the stored ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GoldenReplay {
    /// The number of examples.
    pub examples: usize,
    /// The largest absolute difference of a logit.
    pub max_abs: f32,
}

/// Answers every golden example and compares: first the tokens, then the logits.
pub(crate) fn replay(worker: &mut Worker, golden: &Golden) -> Result<GoldenReplay, PredictorError> {
    let choice = worker.choice().clone();
    let mut outcome = GoldenReplay::default();
    for example in &golden.examples {
        let Some(stored) = example.logits_for(choice.precision, &choice.engine) else { continue };
        let input = Input { text: &example.text, pair: example.pair.as_deref() };
        // Where there are several windows, the first stands for all.
        let windows = worker.tokenize(input)?;
        let Some(encoding) = windows.into_iter().next().map(|window| window.encoding) else { continue };
        let path = worker.artifact_path().to_path_buf();
        if encoding.input_ids != example.input_ids {
            let (expected, found) = (example.input_ids.clone(), encoding.input_ids);
            return Err(PredictorError::GoldenTokens { path, text: shorten(&example.text), expected, found });
        }
        let logits = worker.logits(&encoding)?;
        let difference = largest_difference(&logits, &stored.values);
        let tolerance = tolerance(&choice, &stored.engine);
        // Not `difference > tolerance`: a stored value that is no number must not pass.
        if !difference.is_some_and(|difference| difference <= tolerance) {
            return Err(PredictorError::GoldenLogits {
                path,
                text: shorten(&example.text),
                engine: choice.engine,
                precision: choice.precision,
                difference: difference.unwrap_or(f32::INFINITY),
                tolerance,
            });
        }
        outcome.examples += 1;
        outcome.max_abs = outcome.max_abs.max(difference.unwrap_or_default());
    }
    if outcome.examples == 0 {
        let path = worker.artifact_path().to_path_buf();
        return Err(PredictorError::NoGolden { path, precision: choice.precision });
    }
    Ok(outcome)
}

fn tolerance(choice: &Choice, stored_engine: &str) -> f32 {
    match choice.precision {
        // Weights in float16 are widened before anything is computed.
        Precision::Float32 | Precision::Float16 => FLOAT32_TOLERANCE,
        _ if choice.engine == stored_engine => INT8_TOLERANCE,
        _ => INT8_OTHER_ENGINE_TOLERANCE,
    }
}

/// `None` when the two cannot be compared.
fn largest_difference(found: &[f32], stored: &[f32]) -> Option<f32> {
    let differences = || found.iter().zip(stored).map(|(found, stored)| (found - stored).abs());
    let comparable = found.len() == stored.len() && differences().all(f32::is_finite);
    comparable.then(|| differences().fold(0.0, f32::max))
}

/// Enough of a text to find it again.
fn shorten(text: &str) -> String {
    const CHARACTERS: usize = 60;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_cannot_pass() {
        assert_eq!(largest_difference(&[1.0, 2.0], &[1.5, 2.0]), Some(0.5));
        assert_eq!(largest_difference(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(largest_difference(&[1.0, 2.0], &[1.0, f32::NAN]), None);
        assert_eq!(largest_difference(&[f32::INFINITY], &[f32::INFINITY]), None);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        assert_eq!(shorten(&"ü".repeat(61)), format!("{}...", "ü".repeat(60)));
    }
}
