//! How good an artifact is on labelled rows, answered as the service answers.

use crate::TrainError;
use crate::data;
use crate::evaluation::{Evaluation, Scored, evaluate};
use crate::event::Listener;
use crate::fetch::fetching;
use refit_artifact::Bundle;
use refit_predictor::{Engines, LoadOptions, Predictor};
use refit_spec::Spec;
use std::path::Path;

/// Evaluates the artifact on `rows` (`{"text", "label"}` a line), or on the frozen test rows of the spec.
///
/// # Errors
/// When the artifact does not load, or a row has a label that the model does not know.
pub fn evaluate_artifact(
    spec: &Spec,
    cache: &Path,
    artifact: &Path,
    rows: Option<&Path>,
    engines: &Engines,
    tell: &mut Listener<'_>,
) -> Result<Evaluation, TrainError> {
    let predictor = Predictor::load(&Bundle::open(artifact)?, engines, &LoadOptions::default())?;
    let rows = match rows {
        Some(path) => data::read_labelled_jsonl(path)?,
        None => fetching(spec, cache, tell, |fetch| data::load_dataset(&spec.data, fetch))?.test,
    };
    let labels: Vec<String> = predictor.labels().iter().map(|label| label.to_string()).collect();
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let answers = predictor.predict_batch(&texts)?;
    let mut scored = Vec::with_capacity(rows.len());
    for (row, answer) in rows.iter().zip(answers) {
        let truth = labels.iter().position(|label| *label == row.label).ok_or_else(|| TrainError::Gate {
            why: format!(
                "{} has the label \"{}\", and the model knows {}",
                row.origin,
                row.label,
                labels.join(", ")
            ),
        })?;
        scored.push(Scored { truth, probabilities: answer.probabilities, slices: row.slices.clone() });
    }
    Ok(evaluate(&labels, &scored)?)
}
