//! The artifact of a run: written as a draft first, loaded as the service will load it, evaluated through
//! that, and only then published.

use crate::TrainError;
use crate::examples::Example;
use crate::export::{self, Forms};
use refit_artifact::{
    Bundle, Golden, GoldenExample, GoldenLogits, Manifest, Precision, Reference, Writer, files,
};
use refit_engine::Engine;
use refit_preprocess::TextSettings;
use std::path::Path;
use std::sync::Arc;

/// Golden examples of an artifact.
const GOLDEN_EXAMPLES: usize = 16;

/// What goes into an artifact, whatever was found out about it.
pub struct Contents<'a> {
    /// The model's forms.
    pub forms: &'a Forms,
    /// Whether the int8 file is among the files.
    pub with_int8: bool,
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// Settings of the preprocessing.
    pub settings: &'a TextSettings,
    /// Examples whose answers are replayed at load.
    pub golden: &'a Golden,
}

impl Contents<'_> {
    /// Writes an artifact at `target`; `reports` are further files.
    ///
    /// # Errors
    /// When there is something at `target` already, or the disk is full: nothing is left then.
    pub fn write(
        &self,
        target: &Path,
        manifest: Manifest,
        reference: &Reference,
        reports: &[(&str, &[u8])],
    ) -> Result<Bundle, TrainError> {
        let mut writer = Writer::begin(target)?;
        writer.add_file(files::MODEL_FLOAT32, &self.forms.float32)?;
        if self.with_int8 {
            writer.add_file(files::MODEL_INT8, &self.forms.int8)?;
        }
        writer.add_file(files::TOKENIZER, self.tokenizer)?;
        writer.add_json(files::PREPROCESSING, self.settings)?;
        writer.add_json(files::LABELS, &manifest.labels)?;
        writer.add_json(files::REFERENCE, reference)?;
        writer.add_json(files::GOLDEN, self.golden)?;
        writer.add_file(files::CONFIG, manifest.config.as_bytes())?;
        for (name, content) in reports {
            writer.add_file(name, content)?;
        }
        writer.finish(manifest)?;
        Ok(Bundle::open(target)?)
    }
}

/// Answers of every form in every engine to the first of `rows`, of which `texts` are the raw texts.
///
/// # Errors
/// When an engine fails.
pub fn golden(
    texts: &[&str],
    rows: &[Example],
    forms: &Forms,
    with_int8: bool,
    engines: &[Arc<dyn Engine>],
) -> Result<Golden, TrainError> {
    let mut examples: Vec<GoldenExample> = texts
        .iter()
        .zip(rows)
        .take(GOLDEN_EXAMPLES)
        .map(|(text, row)| GoldenExample {
            text: (*text).to_owned(),
            input_ids: row.encoding.input_ids.clone(),
            logits: Vec::new(),
        })
        .collect();
    for engine in engines {
        for (precision, model) in [(Precision::Float32, &forms.float32), (Precision::Int8, &forms.int8)] {
            if precision == Precision::Int8 && !with_int8 {
                continue;
            }
            let mut session = export::session(engine.as_ref(), model)?;
            for (example, row) in examples.iter_mut().zip(rows) {
                let values = export::logits(session.as_mut(), row)?;
                example.logits.push(GoldenLogits { precision, engine: engine.name().to_owned(), values });
            }
        }
    }
    Ok(Golden { examples })
}
