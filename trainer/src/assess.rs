//! How good an artifact is on labelled rows, answered as the service answers.

use crate::TrainError;
use crate::data::{self, Labels};
use crate::evaluation::Assessment;
use crate::event::Listener;
use crate::fetch::fetching;
use crate::task;
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
) -> Result<Assessment, TrainError> {
    let predictor = Predictor::load(&Bundle::open(artifact)?, engines, &LoadOptions::default())?;
    let rows = match rows {
        Some(path) => data::read_labelled_jsonl(path)?,
        None => fetching(spec, cache, tell, |fetch| data::load_dataset(&spec.data, fetch))?.test.to_vec()?,
    };
    let labels = Labels::new(predictor.manifest().labels.clone());
    Ok(task::of(spec, &labels, predictor.manifest().scale).evaluate(&predictor, &rows)?.0)
}
